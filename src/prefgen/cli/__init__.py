"""The `prefgen` command: verbs, options, and how results and errors are printed."""
