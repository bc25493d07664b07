"""The client of the profiler, in the vocabulary of its messages."""

from collections.abc import Iterator

from alpaserve.v1 import profile_pb2, profiler_pb2, profiler_pb2_grpc

from alpaserve_client.connection import Connection, ConnectionOptions
from alpaserve_client.errors import typed_errors
from alpaserve_client.streams import responses
from alpaserve_client.tracing import propagated


class ProfilerClient(Connection):
    """Asks for measurements and keeps their results. Measuring has no timeout of its own.

    Every method raises the AlpaServeClientError of the call's status.
    """

    def __init__(self, address: str, options: ConnectionOptions | None = None) -> None:
        super().__init__(address, options)
        self._stub = profiler_pb2_grpc.ProfilerStub(self._channel)

    def profile(
        self, request: profiler_pb2.ProfileRequest, *, timeout_s: float | None = None
    ) -> Iterator[profiler_pb2.ProfileResponse]:
        """Measure or estimate a registered model: a message for each entry and for what is pruned, then the stored
        profile."""
        return responses(self._stub.Profile(request, timeout=timeout_s, metadata=propagated()))

    def get_profile(self, name: str) -> profile_pb2.ProfileSet:
        """One stored profile, with the overheads it goes with."""
        with typed_errors():
            request = profiler_pb2.GetProfileRequest(name=name)
            return self._stub.GetProfile(request, timeout=self._options.timeout_s).profiles

    def list_profiles(self) -> list[str]:
        """Names of the stored profiles, sorted."""
        with typed_errors():
            request = profiler_pb2.ListProfilesRequest()
            return list(self._stub.ListProfiles(request, timeout=self._options.timeout_s).names)

    def import_profiles(self, profiles_json: bytes) -> list[str]:
        """Store the profiles of a document of schema alpaserve.profiles/v1; their names."""
        with typed_errors():
            request = profiler_pb2.ImportProfileRequest(profiles_json=profiles_json)
            return list(self._stub.ImportProfile(request, timeout=self._options.timeout_s).names)

    def remove_profile(self, name: str) -> None:
        """Forget a profile that no registered model costs by."""
        with typed_errors():
            request = profiler_pb2.RemoveProfileRequest(name=name)
            self._stub.RemoveProfile(request, timeout=self._options.timeout_s)

    def import_alpa_table(self, table: bytes) -> list[str]:
        """Store the profiles of a table that Alpa's benchmark wrote, tab-separated; their names."""
        with typed_errors():
            request = profiler_pb2.ImportProfileRequest(alpa_tsv=table)
            return list(self._stub.ImportProfile(request, timeout=self._options.timeout_s).names)
