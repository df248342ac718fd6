"""`python -m queuer.migrations upgrade head`: Alembic's command line for the queue alone, without an alembic.ini.

The database is that of `-x url=postgresql://…`, of `QUEUER_DB_*`, or the embedded one, as for `alembic` in a checkout.
"""

import logging
import sys

from alembic.config import CommandLine, Config

from queuer.database import migrate


def main(arguments: list[str]) -> None:
    logging.basicConfig(format="%(levelname)-5.5s %(name)s: %(message)s")
    logging.getLogger("alembic.runtime.migration").setLevel(logging.INFO)
    line = CommandLine(prog="python -m queuer.migrations")
    options = line.parser.parse_args(arguments)
    if not hasattr(options, "cmd"):
        line.parser.error("name a command, such as: upgrade head")
    config = Config(cmd_opts=options)
    config.set_main_option("script_location", str(migrate.folder()).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    line.run_cmd(config, options)


main(sys.argv[1:])
