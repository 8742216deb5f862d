"""So that launchers can say `python -m spectrim`."""

from .cli.main import main

if __name__ == "__main__":
    main()
