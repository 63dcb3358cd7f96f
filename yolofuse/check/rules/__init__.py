"""Rules of a check: each looks at the measurements of a split and returns findings."""
