"""Tables of runs: definition, scheduler, results, pooling (command `spectrim grid`)."""
