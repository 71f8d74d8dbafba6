"""Exports a user with Microsoft's own client of Microsoft Graph, into a folder and into a far end that stores blobs as Azure does."""

import asyncio
import io
import os
import re
import threading
import urllib.parse
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from checks import check, finish
from kiota_abstractions.authentication import AccessTokenProvider, AllowedHostsValidator, BaseBearerTokenAuthenticationProvider
from kiota_abstractions.base_request_configuration import RequestConfiguration
from kiota_http.middleware.options import HeadersInspectionHandlerOption
from msgraph import GraphRequestAdapter, GraphServiceClient
from msgraph.generated.models.data_policy_operation_status import DataPolicyOperationStatus
from msgraph.generated.models.o_data_errors.o_data_error import ODataError
from msgraph.generated.users.item.export_personal_data.export_personal_data_post_request_body import (
    ExportPersonalDataPostRequestBody,
)

ENDPOINT = os.environ["HABEAS_TEST_ENDPOINT"]
FOLDER = Path(os.environ["HABEAS_TEST_FOLDER"])
EMAIL = os.environ["HABEAS_TEST_EMAIL"]


class Storage(BaseHTTPRequestHandler):
    """Puts blocks, and the list of them that makes a blob."""

    blocks, blobs = {}, {}

    def do_PUT(self):
        address = urllib.parse.urlsplit(self.path)
        query = urllib.parse.parse_qs(address.query)
        body = self.rfile.read(int(self.headers["content-length"]))
        allowed = query.get("sig") == ["of/this+test"]
        if allowed and query["comp"] == ["block"]:
            self.blocks[query["blockid"][0]] = body
        elif allowed and query["comp"] == ["blocklist"]:
            listed = re.findall("<Latest>([^<]*)</Latest>", body.decode())
            self.blobs[address.path] = b"".join(self.blocks[block] for block in listed)
        self.send_response(201 if allowed else 403)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


class Token(AccessTokenProvider):
    def __init__(self, token):
        self.token = token

    async def get_authorization_token(self, uri, additional_authentication_context={}):
        return self.token

    def get_allowed_hosts_validator(self):
        return AllowedHostsValidator([])


def client(token):
    adapter = GraphRequestAdapter(BaseBearerTokenAuthenticationProvider(Token(token)))
    adapter.base_url = f"{ENDPOINT}/v1.0"
    return GraphServiceClient(request_adapter=adapter)


async def export(graph, user, location):
    """Orders an export; the id of its operation."""
    headers = HeadersInspectionHandlerOption(inspect_response_headers=True)
    await graph.users.by_user_id(user).export_personal_data.post(
        ExportPersonalDataPostRequestBody(storage_location=location), RequestConfiguration(options=[headers])
    )
    (address,) = headers.response_headers.get("location")
    check(f"an operation of this server: {address}", address.startswith(f"{ENDPOINT}/v1.0/dataPolicyOperations/"))
    check("when to ask again", int(*headers.response_headers.get("retry-after")) > 0)
    return address.rsplit("/", 1)[1]


async def ended(graph, operation):
    while True:
        found = await graph.data_policy_operations.by_data_policy_operation_id(operation).get()
        if found.status in (DataPolicyOperationStatus.Complete, DataPolicyOperationStatus.Failed):
            return found
        await asyncio.sleep(0.1)


async def refused(name, status, code, call):
    try:
        await call
    except ODataError as error:
        told = (error.response_status_code, error.error.code)
        check(f"{name}: {told} {error.error.message}", told == (status, code) and error.error.message)
    else:
        check(f"{name}: not refused", False)


async def main():
    storage = ThreadingHTTPServer(("127.0.0.1", 0), Storage)
    threading.Thread(target=storage.serve_forever, daemon=True).start()
    blob = f"http://127.0.0.1:{storage.server_port}/container/person.zip"
    officer, person = client(os.environ["HABEAS_TEST_OFFICER"]), client(os.environ["HABEAS_TEST_TOKEN"])

    user = await officer.users.by_user_id(EMAIL).get()
    check("a user by principal name", (user.mail, user.user_principal_name) == (EMAIL, EMAIL) and user.display_name)
    me = await person.me.get()
    check("the user themselves", me.id == user.id)

    operation = await export(officer, user.id, f"{blob}?sig=of%2Fthis%2Btest")
    done = await ended(officer, operation)
    check(f"sent to a blob: {done}", done.status == DataPolicyOperationStatus.Complete and done.progress == 100)
    check("whose, and where", (done.user_id, done.storage_location) == (user.id, blob))
    check("when", done.submitted_date_time <= done.completed_date_time)
    names = zipfile.ZipFile(io.BytesIO(Storage.blobs["/container/person.zip"])).namelist()
    check("an archive", "ro-crate-metadata.json" in names and "article-15.json" in names)

    operation = await export(person, user.id, f"file://{FOLDER}")
    check("by the person, into a folder", (await ended(person, operation)).status == DataPolicyOperationStatus.Complete)
    check("an archive in the folder", zipfile.is_zipfile(FOLDER / f"{operation}.zip"))

    operation = await export(officer, user.id, f"{blob}?sig=expired")
    check("a permission that ran out", (await ended(officer, operation)).status == DataPolicyOperationStatus.Failed)

    body = ExportPersonalDataPostRequestBody(storage_location="file:///etc")
    await refused("a folder that is not allowed", 400, "Request_BadRequest", officer.users.by_user_id(user.id).export_personal_data.post(body))
    await refused("no location", 400, "Request_BadRequest", officer.users.by_user_id(user.id).export_personal_data.post(ExportPersonalDataPostRequestBody()))
    await refused("nobody", 404, "Request_ResourceNotFound", officer.users.by_user_id("nobody@example.org").get())
    await refused("no operation", 404, "Request_ResourceNotFound", officer.data_policy_operations.by_data_policy_operation_id("x").get())
    await refused("what is not served", 404, "Request_ResourceNotFound", officer.groups.get())
    await refused("no token", 401, "InvalidAuthenticationToken", client("").me.get())


asyncio.run(main())
finish("Microsoft Graph")
