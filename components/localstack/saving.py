"""Run by LocalStack at its start (start.d), in its own process, when localstack-persist has loaded the state and no
request has come yet: makes a kill at any moment cost some seconds, and nothing else. Written for localstack-persist
4.14.0, its last version; where its inside is another, it goes on as it is.
"""

import logging
import os

LOG = logging.getLogger("homecloud.saving")

# Records of older files were saved, however long that took.
RECENT_SECONDS = 600
# Where the watch container reads what was found.
REPORT = "s3/homecloud-report.txt"
MOST_SENTENCES = 20


def save_whole_or_not_at_all():
    # It opens a state file for writing and writes: a kill in the middle leaves a part, and the next start is empty.
    from localstack_persist.serialization.jsonpickle.serializer import JsonPickleSerializer
    from localstack_persist.serialization.pickle.serializer import PickleSerializer

    for serializer in (JsonPickleSerializer, PickleSerializer):
        serializer.serialize = with_another_name(serializer.serialize)


def with_another_name(write):
    def serialize(self, data):
        path = self.file_path
        self.file_path = new = f"{path}.new"
        try:
            write(self, data)
            with open(new) as file:
                os.fsync(file.fileno())
            os.replace(new, path)
        finally:
            self.file_path = path

    return serialize


def let_records_follow_files():
    # What an object holds is in its file at once, and its record is saved later. After a kill in between, clients get a
    # wrong checksum for what was overwritten, and an internal error for what was deleted.
    from localstack.services.s3.models import s3_stores
    from localstack_persist.config import BASE_DIR
    from localstack_persist.s3.storage import PersistedS3ObjectStore
    from localstack_persist.state import STATE_TRACKER

    store_file = f"{BASE_DIR}/s3/store.json"
    recent = os.path.getmtime(store_file) - RECENT_SECONDS if os.path.exists(store_file) else 0
    buckets = {bucket.name: bucket for _, _, store in s3_stores.iter_stores() for bucket in store.buckets.values()}
    found = [
        sentence
        for bucket in buckets.values()
        for sentence in follow_files_of(bucket, PersistedS3ObjectStore(), recent)
    ]
    if found:
        STATE_TRACKER.add_affected_service("s3")
    tell(f"{BASE_DIR}/{REPORT}", found)


def follow_files_of(bucket, files, recent):
    from localstack.services.s3.models import S3DeleteMarker

    # Its folder went when the bucket was deleted.
    files.create_bucket(bucket.name)
    for item in bucket.objects.values(with_versions=True):
        if isinstance(item, S3DeleteMarker):
            continue
        name = f"s3://{bucket.name}/{item.key}"
        try:
            status = os.stat(files._object_path(bucket.name, item))
        except FileNotFoundError:
            bucket.objects.pop(item.key, *([item.version_id] if item.version_id else []))
            yield f"{name} was deleted just before LocalStack was killed: it is not listed any more"
            continue
        # The tag of what was uploaded in parts is no checksum of the whole.
        if status.st_size == item.size and (status.st_mtime < recent or "-" in item.etag):
            continue
        tag = item.etag
        with files.open(bucket.name, item) as stored:
            # Reads the file, and writes tag and size into the record.
            stored._compute_hashes()
            if item.etag != tag:
                item.checksum_value, item.parts = stored.checksum, {}
                there = f"it has the {item.size} bytes that were there"
                yield f"{name} was overwritten just before LocalStack was killed: {there}"


def tell(path, found):
    if len(found) > MOST_SENTENCES:
        found = [*found[:MOST_SENTENCES], f"and {len(found) - MOST_SENTENCES} objects more"]
    for sentence in found:
        LOG.warning(sentence)
    if found:
        with open(path, "w") as file:
            file.write("\n".join(found))
    elif os.path.exists(path):
        os.remove(path)


for step in (save_whole_or_not_at_all, let_records_follow_files):
    try:
        step()
    except Exception as error:
        LOG.warning("%s: %s: %s", step.__name__, type(error).__name__, error)
