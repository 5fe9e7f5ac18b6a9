"""A minute of the soak run (tests/soak).

IG_SOAK_MINUTES (1) may be given."""

import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))

if os.geteuid() != 0:
    print("1..0 # SKIP needs root: namespaces, control groups and BPF")
    sys.exit(77)
os.execv(sys.executable, [sys.executable, "-B", f"{HERE}/../soak/soak.py", "--minutes",
                          os.environ.get("IG_SOAK_MINUTES", "1")])
