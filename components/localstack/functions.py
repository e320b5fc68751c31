"""Run by LocalStack at its start (start.d), in its own process: makes functions run where no registry answers, and ends
those of a LocalStack that was killed. Written after LocalStack 4.14; where its inside is another, it goes on as it is.
"""

import logging

LOG = logging.getLogger("homecloud.functions")


def use_images_that_are_there():
    # LocalStack pulls an image for each new function and after each start, also one that Docker has, and marks the
    # function as failed where the pull fails: with the internet away, nothing would run.
    from localstack.services.lambda_.invocation import docker_runtime_executor as executor
    from localstack.utils.container_utils.container_client import NoSuchImage

    pull = executor._ensure_runtime_image_present

    def ensure_present(image, platform):
        try:
            executor.CONTAINER_CLIENT.inspect_image(image, pull=False)
        except NoSuchImage:
            pull(image, platform)

    executor._ensure_runtime_image_present = ensure_present


def end_orphans():
    from localstack.utils.container_networking import get_main_container_name
    from localstack.utils.docker_utils import DOCKER_CLIENT

    prefix = f"{get_main_container_name() or 'localstack'}-lambda-"
    for container in DOCKER_CLIENT.list_containers(filter=f"name={prefix}", all=True):
        DOCKER_CLIENT.remove_container(container["name"], force=True)


for step in (use_images_that_are_there, end_orphans):
    try:
        step()
    except Exception as error:
        LOG.warning("%s: %s: %s", step.__name__, type(error).__name__, error)
