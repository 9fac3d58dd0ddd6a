"""Where the process begins. A pull of what is here already is answered before the command line is even built: its
library takes longer to import than all else that such a pull does. Everything else is cli.main's.
"""

from __future__ import annotations

import gc
import os
import sys


def main() -> None:
    gc.set_threshold(20_000)  # imports make many objects and no garbage: the default looks through them a hundred times
    if sys.argv[1:2] == ["pull"]:
        from cli.present import answer

        if answer(sys.argv[2:]):
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(0)  # taking an interpreter down piece by piece costs a tenth of such a pull
    from cli.main import main as run

    run()


if __name__ == "__main__":
    main()
