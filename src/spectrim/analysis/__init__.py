"""What models keep and drop: statistics, Kendall's tau, clusters, ablation, figures, report."""
