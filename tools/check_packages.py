"""Builds wheel and sdist, installs each where nothing is, and tries it.

    python tools/check_packages.py --out dist python3.11 python3.13

Each Python gets an environment of its own: the wheel with its extras is
installed into it and tried by `smoke_test.py`, then the sdist in its place. It
takes two to four minutes a Python, most of it downloads.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SMOKE = ROOT / "tools" / "smoke_test.py"
# The smallest backend; a preset from the hub is one of the extras' features.
EXTRAS, BACKEND = "hub,jax", "jax"


def run(*command, **options):
    """Runs a command, and ends this process if it fails."""
    result = subprocess.run([str(part) for part in command], **options)
    if result.returncode:
        sys.exit(f"{' '.join(map(str, command))} failed")


def environment(folder, python, *packages):
    """Makes an environment and returns its Python."""
    run(python, "-m", "venv", folder)
    own = folder / "bin" / "python"
    install(own, *packages)
    return own


def install(python, *packages):
    """Installs packages with pip."""
    quiet = ("-q", "--disable-pip-version-check")
    run(python, "-m", "pip", "install", *quiet, *packages)


def build(scratch):
    """Returns the wheel and the sdist of what git tracks."""
    source = scratch / "source"
    source.mkdir()
    # Ignored files, such as an old `build`, would reach the packages.
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True
    )
    for name in filter(None, listed.stdout.decode().split("\0")):
        if (ROOT / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, source / name)
    python = environment(scratch / "builder", sys.executable, "build", "twine")
    made = scratch / "dist"
    run(python, "-m", "build", "--outdir", made, source)
    run(python, "-m", "twine", "check", "--strict", *made.iterdir())
    (wheel,), (sdist,) = made.glob("*.whl"), made.glob("*.tar.gz")
    return wheel, sdist


def try_on(python, wheel, sdist, scratch):
    """Installs both into a new environment of a Python, and tries them."""
    own = environment(scratch / Path(python).name, python, f"{wheel}[{EXTRAS}]")
    here = {**os.environ, "KERAS_BACKEND": BACKEND}
    program = own.parent / "keras-nfnets"
    for package in (wheel, sdist):
        if package == sdist:
            install(own, "--no-deps", "--force-reinstall", sdist)
        run(program, "--version", env=here, cwd=scratch)
        run(own, "-I", SMOKE, env=here, cwd=scratch)


def main(arguments=None):
    """Builds, tries on every Python, and leaves the packages in a folder."""
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0],
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="\n".join(__doc__.splitlines()[2:]),
    )
    parser.add_argument("pythons", nargs="*", default=[sys.executable])
    parser.add_argument("--out", type=Path, default=ROOT / "dist")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as scratch:
        scratch = Path(scratch)
        wheel, sdist = build(scratch)
        for python in options.pythons:
            try_on(python, wheel, sdist, scratch)
        options.out.mkdir(parents=True, exist_ok=True)
        for package in (wheel, sdist):
            shutil.copy2(package, options.out)
            print(f"wrote {options.out / package.name}")


if __name__ == "__main__":
    main()
