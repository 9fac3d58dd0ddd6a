"""Where the process begins. A pull of what is here already is answered before the command line is even built: its
library takes longer to import than all else that such a pull does. Everything else is cli.main's.
"""

from __future__ import annotations

import gc
import os
import sys


def main() -> None:
    if sys.argv[1:2] == ["pull"]:
        gc.disable()  # nothing that imports make is garbage
        from cli.present import answer

        if answer(sys.argv[2:]):
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(0)  # taking an interpreter down piece by piece costs a tenth of such a pull
        gc.enable()
    from cli.main import main as run

    run()


if __name__ == "__main__":
    main()
