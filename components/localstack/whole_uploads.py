"""Run by LocalStack at its start (start.d), in its own process: an upload that breaks off changes nothing. Written for
LocalStack 4.14 with hypercorn, and localstack-persist 4.14.0; where their inside is another, it goes on as it is.
"""

import contextlib
import logging
import os
import re
import uuid

LOG = logging.getLogger("homecloud.uploads")


def say_that_the_client_is_gone():
    # LocalStack takes a connection that ends in the middle of a body for the end of the body, and stores what arrived.
    from rolo.asgi import RawHTTPRequestEventStreamAdapter as Body

    init = Body.__init__

    def with_check(self, receive, event_loop=None):
        async def checked():
            event = await receive()
            if event["type"] == "http.disconnect":
                raise ConnectionResetError("the client went away in the middle of its upload")
            return event

        init(self, checked, event_loop)

    Body.__init__ = with_check


def replace_objects_when_they_are_whole():
    # localstack-persist empties an object's file before it writes: what was there went with an upload that failed.
    try:
        from localstack_persist.s3.storage import PersistedS3ObjectStore as Store
        from localstack_persist.s3.storage import PersistedS3StoredObject as Stored
    except ImportError:
        return
    open_object, close_object, remove_object = Store.open, Stored.close, Store.remove
    # By the identity of the object's record. Not in the record itself, which is saved.
    uploads = {}
    remove_leftovers(Store.root_directory)

    def opened(self, bucket, s3_object, mode="r"):
        if mode != "w":
            return open_object(self, bucket, s3_object, mode)
        path = self._object_path(bucket, s3_object)
        new = f"{path}.{uuid.uuid4().hex}.new"
        stored = Stored(s3_object, self, self.open_file(new, "w"), mode)
        stored.swap = (new, path)
        uploads[id(s3_object)] = stored
        return stored

    def closed(self):
        new, path = getattr(self, "swap", (None, None))
        close_object(self)
        if new is None:
            return
        self.swap = (None, None)
        uploads.pop(id(self.s3_object), None)
        if self._size is None:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(new)
        else:
            os.replace(new, path)

    def removed(self, bucket, s3_object):
        # A checksum that does not fit is found before the file is closed: only the new one goes.
        upload = uploads.get(id(s3_object))
        if upload is None:
            return remove_object(self, bucket, s3_object)
        upload._size = None

    Store.open, Stored.close, Store.remove = opened, closed, removed


def remove_leftovers(folder):
    # Of uploads that a kill has ended. An object's own file ends in its version.
    leftover = re.compile(r"@[^@]*\.[0-9a-f]{32}\.new$")
    for path, _, names in os.walk(folder):
        for name in filter(leftover.search, names):
            os.unlink(os.path.join(path, name))


for step in (say_that_the_client_is_gone, replace_objects_when_they_are_whole):
    try:
        step()
    except Exception as error:
        LOG.warning("%s: %s: %s", step.__name__, type(error).__name__, error)
