"""What only serves the paper: its published numbers beside ours, findings, verdicts and pages."""
