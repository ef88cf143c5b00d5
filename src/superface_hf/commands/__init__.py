"""The subcommands of ``superface``, one file each; every one has ``add_parser(commands)``."""
