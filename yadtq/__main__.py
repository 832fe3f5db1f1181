"""``python -m yadtq``: the same as the ``yadtq`` command."""

from yadtq.cli import main

if __name__ == "__main__":
    main()
