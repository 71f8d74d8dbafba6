"""Holds an archive against the standards that it claims to follow, with their own validators.

Arguments: the archive with all formats, the JSON-LD context of RO-Crate 1.2 (a network away for the validator; the npm package `ro-crate` has
it), the archive sealed with a passphrase, the file of the passphrase, and a folder. Into the folder goes the archive sealed for a key by another
implementation of age, and the key.
"""

import hashlib
import io
import json
import pathlib
import subprocess
import sys
import tempfile
import zipfile

import frictionless
import pyrage
import requests
import urllib3
from rocrate_validator import services

CONTEXT = "https://w3id.org/ro/crate/1.2/context"

archive, context, sealed, passphrase, exchange = map(pathlib.Path, sys.argv[1:])
known = context.read_bytes()
assert json.loads(known)["@id"] == CONTEXT


def answer(adapter, request, **_):
    """Stands in for the network: there is one document that the validator asks it for."""
    assert request.url == CONTEXT, request.url
    response = requests.Response()
    response.status_code = 200
    response.url = request.url
    response.request = request
    response.headers["Content-Type"] = "application/ld+json"
    response.raw = urllib3.HTTPResponse(io.BytesIO(known), headers=response.headers, status=200, preload_content=False)
    return response


requests.adapters.HTTPAdapter.send = answer


def violations(folder):
    settings = services.ValidationSettings(
        rocrate_uri=str(folder), profile_identifier="ro-crate-1.2", requirement_severity="REQUIRED"
    )
    return [f"{issue.check.identifier}: {issue.message}" for issue in services.validate(settings).get_issues()]


with tempfile.TemporaryDirectory() as name:
    folder = pathlib.Path(name)
    with zipfile.ZipFile(archive) as opened:
        assert opened.testzip() is None
        names = opened.namelist()
        assert len(names) == len(set(names))
        opened.extractall(folder)

    # As the README in the archive says it.
    subprocess.run(["sha256sum", "--check", "--strict", "--quiet", "manifest-sha256.txt"], cwd=folder, check=True)
    listed = {line.split("  ", 1)[1] for line in (folder / "manifest-sha256.txt").read_text().splitlines()}
    unlisted = {path for path in names if path not in listed and not path.endswith("/")}
    assert unlisted == {"manifest-sha256.txt", "signature/manifest.json"}, unlisted

    found = violations(folder)
    assert not found, found

    report = frictionless.validate(str(folder / "datapackage.json"))
    assert report.valid, report.flatten(["type", "message"])
    tables = [task.place for task in report.tasks]
    assert len(tables) > 3, tables
    assert any(place.endswith(".jsonl") for place in tables), tables
    # Datasets name images where they lie.
    for document in (folder / "formats/coco").rglob("annotations.json"):
        for image in json.loads(document.read_text())["images"]:
            assert (document.parent / image["file_name"]).resolve().is_relative_to((folder / "custom-vision").resolve())
            assert (document.parent / image["file_name"]).is_file(), image

    # Every kind is named, also where there is nothing of it.
    completeness = json.loads((folder / "completeness.json").read_text())
    assert any(kind["count"] == 0 for kind in completeness["kinds"]), completeness
    images = list((folder / "custom-vision").rglob("*.jpg"))
    assert len(images) == 62, len(images)
    signed = json.loads((folder / "signature/manifest.json").read_text())
    digest = hashlib.sha256((folder / "manifest-sha256.txt").read_bytes()).hexdigest()
    assert signed["statement"]["manifestSha256"] == digest

    # The validators do refuse: what is checked here can fail.
    metadata = folder / "ro-crate-metadata.json"
    crate = json.loads(metadata.read_text())
    root = next(entity for entity in crate["@graph"] if entity["@id"] == "./")
    del root["datePublished"]
    metadata.write_text(json.dumps(crate))
    assert violations(folder)

# Another implementation of age opens what the server sealed, and seals what the server is to open.
opened = pyrage.passphrase.decrypt(sealed.read_bytes(), passphrase.read_text().rstrip("\n"))
with zipfile.ZipFile(io.BytesIO(opened)) as plain:
    assert plain.testzip() is None
    assert "signature/manifest.json" in plain.namelist()
identity = pyrage.x25519.Identity.generate()
(exchange / "key.txt").write_text(f"# a comment\n{identity}\n")
(exchange / "archive.zip.age").write_bytes(pyrage.encrypt(archive.read_bytes(), [identity.to_public()]))

print(f"archive: {len(names)} files, {len(tables)} tables: valid")
