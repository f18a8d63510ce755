"""The command line: `tradu`. Modules import what is heavy inside their functions, so that --help answers at once."""
