"""A run carried out: by one process, or by all that were started for it."""

from __future__ import annotations

import atexit
import os
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch

from modpm.core.errors import ModpmError
from modpm.core.training.checkpoint import Checkpoint, encode_checkpoint
from modpm.core.training.device import arithmetic
from modpm.core.training.report import write_report
from modpm.core.training.run import create_run, resume_hint
from modpm.core.training.session import create_method, kept_state, open_session, train_epochs
from modpm.core.training.watching import watched

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from modpm.core.data import GivenImages
    from modpm.core.graph import GraphNetwork
    from modpm.core.training.run import Run
    from modpm.core.training.session import Progress


# accelerate has no types, and it is imported only where training happens.
def start_processes(batch_size: int, device: torch.device) -> Any:  # noqa: ANN401 -- accelerate has no types
    """Return what knows the processes that share batches.

    Args:
        batch_size: How many images all of them together take a step.
        device: Where they compute.

    Raises:
        ModpmError: `missing-extra`; they are too many for so few images (`bad-setting`).
    """
    try:
        from accelerate import Accelerator  # noqa: PLC0415 -- an extra of the package
    except ModuleNotFoundError as error:
        raise ModpmError(
            "training needs the package `accelerate`",
            code="missing-extra",
            hint='install it with `pip install "modpm[train]"`',
        ) from error
    # Without a GPU it would not look for other processes unless it is told to stay on the CPU.
    accelerator = Accelerator(cpu=device.type == "cpu")
    _warn_of_missing_processes(accelerator.num_processes)
    # Left to the end of the process, its threads may outlive what they use, which aborts.
    atexit.register(accelerator.state.destroy_process_group)
    if batch_size < 2 * accelerator.num_processes:
        raise ModpmError(
            f"{accelerator.num_processes} processes cannot share batches of {batch_size} images",
            code="bad-setting",
            why="each needs two images, to have a pair",
            exit_code=2,
        )
    return accelerator


def _warn_of_missing_processes(n_processes: int) -> None:
    """Warn where `accelerate launch --cpu --num_processes N`, N > 1, has started one process.

    It starts more on CPUs through MPI only, but prepares their meeting all the same.
    """
    is_prepared = "MASTER_PORT" in os.environ and "ACCELERATE_USE_CPU" in os.environ
    if n_processes == 1 and is_prepared and "WORLD_SIZE" not in os.environ:
        warnings.warn(
            "accelerate has started one process; on CPUs start several with "
            "`torchrun --nproc-per-node N -m modpm.cli train ...`, or through MPI with "
            "`accelerate launch --mpirun_hostfile FILE`",
            stacklevel=3,
        )


def begin(
    run: Run,
    network: GraphNetwork,
    accelerator: Any,  # noqa: ANN401 -- as above
    given: GivenImages | None = None,
) -> None:
    """Write the folder of a new run.

    Args:
        run: The run, with its images.
        network: What it trains, as it is before.
        accelerator: Knows the other processes.
        given: Its images, where no name leads to them.

    Raises:
        ModpmError: It cannot be written.
    """
    accelerator.wait_for_everyone()  # until all have seen that the folder is free
    if accelerator.is_main_process:
        state = create_method(run, network).state_dict()
        files = {} if given is None else given.files()
        create_run(run, network.graph, encode_checkpoint(Checkpoint(0, state, {}, {})), files)
    accelerator.wait_for_everyone()


def carry_out(
    run: Run,
    accelerator: Any,  # noqa: ANN401 -- as above
    log: str | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> None:
    """Train what is left of a run, and write its report.

    Args:
        run: One that is begun; of a finished one nothing is left.
        accelerator: Knows the other processes.
        log: As for `train`.
        progress: Called after each step and each epoch, in the main process.

    Raises:
        ModpmError: The loss is not finite, a file cannot be written, or it was interrupted; what
            was kept, and how to go on, is said.
    """
    if run.is_finished:
        return
    exact = arithmetic(accelerator.device, is_deterministic=run.config.deterministic)
    with _failures_explained(run), torch.random.fork_rng(devices=[]), exact:
        watching = log if accelerator.is_main_process else None
        with watched(watching, run.folder, progress) as tell_progress:
            train_epochs(open_session(run, accelerator), tell_progress)
    if accelerator.is_main_process:
        write_report(run)


@contextmanager
def _failures_explained(run: Run) -> Iterator[None]:
    """Say of an interruption or a full disk how to continue."""
    try:
        yield
    except KeyboardInterrupt:
        raise ModpmError(
            "interrupted",
            code="interrupted",
            where=str(run.folder),
            why=f"what is kept is {kept_state(run)}",
            hint=resume_hint(run),
            exit_code=130,
        ) from None
    except ModpmError as error:
        if error.code == "disk-full":
            error.hint = f"free some space, then {resume_hint(run)}"
        raise
