"""`python -m medlib` is the same as the `medlib` command."""

from medlib.cli import main

raise SystemExit(main())
