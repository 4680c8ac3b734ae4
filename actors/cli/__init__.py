"""The command line, `kaon`: one module per family of commands, imported only when one of them runs."""
