"""The executor of one group: its devices as one mesh per stage, and the models loaded on them.

Each stage may be run from a thread of its own, while another thread loads a model. The caller
keeps to one load or unload at a time, and drains a model before `unload`.
"""

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from services.core.device import DeviceCosts
from services.core.errors import AlreadyExists, InvalidArgument, NotPlaced
from services.core.model import ModelSource
from services.parallel.known_devices import typical_costs
from services.parallel.model import Inputs, Outputs, extremes_of
from services.parallel.resident import LoadedModel, Resident, compile_model, load_model
from services.parallel.sharding import stage_mesh


class JaxPipeline:
    """`inter_op` stages on `intra_op` devices each, the first of this process."""

    def __init__(self, *, inter_op: int, intra_op: int, cache_dir: str | None = None) -> None:
        """Take the devices. With `cache_dir`, compiled programs are kept there; JAX has one
        such directory per process.

        Raises:
            InvalidArgument: the process has fewer devices.
        """
        devices = jax.devices()
        if min(inter_op, intra_op) < 1 or inter_op * intra_op > len(devices):
            raise InvalidArgument(f"{inter_op}x{intra_op} devices wanted, {len(devices)} present")
        if cache_dir is not None:
            _keep_compiled_programs(cache_dir)
        self._meshes = tuple(stage_mesh(devices[k * intra_op : (k + 1) * intra_op]) for k in range(inter_op))
        self._platform = devices[0].platform
        self._residents: dict[str, Resident] = {}

    @property
    def inter_op(self) -> int:
        return len(self._meshes)

    def load(
        self,
        name: str,
        source: ModelSource,
        boundaries: Sequence[int] | None = None,
        batch_sizes: Sequence[int] = (1,),
        costs: DeviceCosts | None = None,
    ) -> LoadedModel:
        """Put the weights on the devices shard by shard, compile each stage for every batch size
        and run it once.

        Loading the same source again compiles the batch sizes that are missing, and changes nothing else.
        Without `boundaries` the cut balances the stages by `costs`; without `costs` these are typical of
        the devices.

        Raises:
            InvalidModel: the source cannot be read or is not supported.
            InvalidArgument: the boundaries do not fit the model, or a batch size is none.
            AlreadyExists: the name is taken by another source or cut.
        """
        for batch_size in batch_sizes:
            if batch_size < 1:
                raise InvalidArgument(f"batch sizes must be at least 1, got {batch_size}")
        costs = costs or typical_costs(self._platform)
        cut = None if boundaries is None else tuple(boundaries)
        known = self._residents.get(name)
        if known is not None and (known.source != source or cut not in (None, known.boundaries)):
            raise AlreadyExists(f"model {name!r} is loaded from another source or with another cut")
        resident = known or load_model(source, self._meshes, cut, min(batch_sizes), costs)
        try:
            self._residents[name] = compile_model(resident, batch_sizes, costs)
        except BaseException:
            if known is None:
                resident.free()
            raise
        return self._residents[name].memory()

    def unload(self, name: str) -> None:
        """Free the model's device memory; a model that is not loaded changes nothing."""
        resident = self._residents.pop(name, None)
        if resident is not None:
            resident.free()

    def prepare(self, name: str, inputs: Inputs) -> Any:
        """Validate one request and pad it: what stage 0 takes, alone or joined with others.

        Raises:
            InvalidInput: the model does not take these inputs; the message names the value.
        """
        return self._resident(name).model.prepare([inputs])

    def join(self, prepared: Sequence[Any]) -> Any:
        """Prepared requests of one model as one batch, as many as one of its loaded batch sizes."""
        if len(prepared) == 1:
            return prepared[0]
        return {key: np.concatenate([one[key] for one in prepared]) for key in prepared[0]}

    def example(self, name: str) -> Inputs:
        """A request of full length."""
        return self._resident(name).model.example()

    def extremes(self, name: str) -> tuple[Inputs, Inputs]:
        """The longest and the shortest request, each with every input."""
        return extremes_of(self._resident(name).model)

    def place(self, name: str, stage: int, activation: Any) -> Any:
        """Move an activation to the stage's mesh and wait for it; `run_stage` does so itself."""
        return self._resident(name).stages[stage].place(activation)

    def run_stage(self, name: str, stage: int, activation: Any) -> Any:
        """Move the activation to the stage's mesh, run the stage and wait for the result."""
        chosen = self._resident(name).stages[stage]
        return chosen.run(chosen.place(activation))

    def collect(self, name: str, activation: Any) -> list[Outputs]:
        """The outputs of each request of the batch, on the host, from what the last stage returned."""
        return self._resident(name).model.collect(jax.device_get(activation))

    def _resident(self, name: str) -> Resident:
        resident = self._residents.get(name)
        if resident is None:
            raise NotPlaced(f"model {name!r} is not loaded here")
        return resident


def _keep_compiled_programs(cache_dir: str) -> None:
    jax.config.update("jax_compilation_cache_dir", cache_dir)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
