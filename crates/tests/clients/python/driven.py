"""What the programs here share: watching which operations of a client are called, and a far end for addresses and webhooks."""

import functools
import inspect
import json
import os
import queue
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from checks import check, finish  # noqa: F401 (programs take both from here)
from msrest.exceptions import HttpOperationError

ENDPOINT = os.environ["HABEAS_TEST_ENDPOINT"]
KEY = os.environ["HABEAS_TEST_KEY"]
PREDICTION_KEY = os.environ["HABEAS_TEST_PREDICTION_KEY"]
OTHER_KEY = os.environ["HABEAS_TEST_OTHER_KEY"]
IMAGES = Path(os.environ["HABEAS_TEST_IMAGES"])
CLASSES = IMAGES / "ImageClassification/Images"
OBJECTS = IMAGES / "ObjectDetection/Images"
#: What the quickstarts send as `predictionId`.
RESOURCE = "/subscriptions/x/resourceGroups/y/providers/Microsoft.CognitiveServices/accounts/z"


def refused(name, status, code, call):
    """Checks that the server refuses a call in words that the client understands."""
    try:
        call()
    except HttpOperationError as error:
        body = error.response.json()
        spelled = {key.lower(): value for key, value in body.items()}
        check(f"{name}: {body}", (error.response.status_code, spelled["code"]) == (status, code))
        if hasattr(error.error, "code"):
            check(f"{name}, as the client tells it: {error}", error.error.code == code and str(error) == spelled["message"])
    else:
        check(f"{name}: not refused", False)


class Operations:
    """The public operations of clients, and which of them were answered."""

    def __init__(self):
        self.public, self.answered = set(), set()

    def watch(self, api, client):
        for name in dir(client):
            method = getattr(client, name)
            # What the base class has, such as `close`, is no operation.
            if name.startswith("_") or not inspect.ismethod(method) or not method.__module__.startswith("azure.cognitiveservices."):
                continue
            self.public.add((api, name))

            @functools.wraps(method)
            def noted(*arguments, _noted=(api, name), _method=method, **options):
                answer = _method(*arguments, **options)
                self.answered.add(_noted)
                return answer

            setattr(client, name, noted)
        return client

    def covered(self):
        """Checks that every public operation was answered at least once."""
        for api in sorted({api for api, _ in self.public}):
            public = {name for of, name in self.public if of == api}
            missing = sorted(public - {name for of, name in self.answered if of == api})
            print(f"{api}: {len(public) - len(missing)} of {len(public)} operations")
            check(f"{api}: never answered: {missing}", not missing)


class FarEnd:
    """Serves files, and takes what is posted."""

    def __init__(self, files):
        posted = self.posted = queue.Queue()

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                content = files.get(self.path)
                self.send_response(404 if content is None else 200)
                self.end_headers()
                self.wfile.write(content or b"")

            def do_POST(self):
                posted.put(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                self.send_response(204)
                self.end_headers()

            def log_message(self, *_):
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        self.address = f"http://127.0.0.1:{server.server_port}"

    def next(self, kind):
        """The next message of a kind."""
        while True:
            message = self.posted.get(timeout=60)
            if message["type"] == kind:
                return message


def until(done, read):
    """Reads again and again until what was read is done."""
    while True:
        found = read()
        if done(found):
            return found
        time.sleep(0.1)


def trained(trainer, project, iteration):
    return until(lambda found: found.status != "Training", lambda: trainer.get_iteration(project, iteration.id))


def boxes():
    """Left, top, width and height of the object in each detection photo, by file name without ending."""
    drawn = json.loads((IMAGES / "ObjectDetection/regions.json").read_text())
    return {name: dict(zip(("left", "top", "width", "height"), image["left_top_width_height"])) for name, image in drawn.items()}
