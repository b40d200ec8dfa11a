"""From a run file to a plan and its store."""
