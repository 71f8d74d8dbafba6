"""Counting checks."""

import sys

passed = failed = 0


def check(name, condition):
    global passed, failed
    if condition:
        passed += 1
    else:
        failed += 1
        print(f"FAILED: {name}")


def finish(what):
    print(f"{what}: {passed} passed, {failed} failed")
    sys.exit(1 if failed else 0)
