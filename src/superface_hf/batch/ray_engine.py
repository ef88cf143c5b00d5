"""A batch on Ray Data: actors that load their models once; a row whose actor dies is given to another."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ..errors import SuperFaceError, install_command
from .worker import RenderRow


def on_ray(rows: list[dict[str, Any]], work: RenderRow, workers: int) -> Iterator[dict[str, Any]]:
    """Yield the results as they come, in any order.

    Args:
        rows: cells by column.
        work: what the actors do. Who began a row notes it in the batch's folder, and a row that is finished is not begun
            again, so that a row is done once even where Ray hands it out twice.
        workers: how many actors, with one CPU each, and a GPU each where ``work.device`` is one.

    Raises:
        SuperFaceError: Ray is not installed, or ``workers`` is below 1.
    """
    if workers < 1:
        raise SuperFaceError(f"workers must be at least 1, not {workers}.")
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise SuperFaceError(f"The engine ray needs Ray: {install_command('ray')}.") from error
    if not rows:
        return
    if not ray.is_initialized():
        ray.init(include_dashboard=False, log_to_driver=False, logging_level="error")
    ray.data.DataContext.get_current().enable_progress_bars = False
    columns = sorted({name for row in rows for name in row})
    # One block a row: a long row keeps no other waiting. Arrow needs one type a column.
    table = [{name: _cell(row.get(name)) for name in columns} for row in rows]
    strategy = ray.data.ActorPoolStrategy(size=min(workers, len(rows)))
    results = ray.data.from_items(table, override_num_blocks=len(table)).map(
        RenderRow,
        fn_constructor_args=(work.folder, work.device, work.dtype),
        compute=strategy,
        num_cpus=1,
        num_gpus=1 if work.device.startswith("cuda") else None,
    )
    for result in results.iter_rows():
        yield dict(result)


def _cell(value: Any) -> Any:
    return value if value is None or isinstance(value, int) else str(value)
