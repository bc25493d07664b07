"""The worker, over devices that write down what they run."""

from benchmarks.recorded_devices import RecordingActor
from services.worker.__main__ import main

if __name__ == "__main__":
    main(RecordingActor)
