"""How is each view drawn? Panel components, each fed by one view model."""
