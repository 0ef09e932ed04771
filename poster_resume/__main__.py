"""``python -m poster_resume`` is the command ``poster``."""

from .cli import main

if __name__ == "__main__":
    main()
