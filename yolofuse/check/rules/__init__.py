"""Apply the rules of a check: each module turns the statistics of splits into findings."""
