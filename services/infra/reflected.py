"""What reflection tells of: the files of the services that are served, whichever pools they come from."""

from collections.abc import Iterable

from google.protobuf.descriptor import FileDescriptor
from google.protobuf.descriptor_pool import DescriptorPool


def pool_of(files: Iterable[FileDescriptor]) -> DescriptorPool:
    """A pool with these files and what they import."""
    pool = DescriptorPool()
    for file in files:
        _add(pool, file)
    return pool


def _add(pool: DescriptorPool, file: FileDescriptor) -> None:
    for imported in file.dependencies:
        _add(pool, imported)
    pool.AddSerializedFile(file.serialized_pb)
