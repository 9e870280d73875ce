"""Tunes a model to one's own recordings, from manifests to a folder that says how much it helped.

All that can be wrong with what was asked for is told before torch is loaded, and before anything is heard;
``nim4asr.training.finetuning.tuning`` does the rest.
"""

import shutil
from collections.abc import Callable

from nim4asr.errors import InputError
from nim4asr.files import locked
from nim4asr.model.folder import CONFIG
from nim4asr.progress import ProgressReporter, no_progress
from nim4asr.training.finetuning.options import FinetuneOptions
from nim4asr.training.finetuning.report import Outcome, finished
from nim4asr.training.finetuning.request import Request

_MOST_TOLD = 3


def finetune(
    options: FinetuneOptions,
    progress: ProgressReporter = no_progress,
    tell: Callable[[str], None] = lambda line: None,
) -> Outcome:
    """Tune, judge, and write the new model's folder; goes on from whatever the same command left.

    ``tell`` is told what is being done. Raises ``InputError`` if the model or the recordings cannot be had,
    are too few, or do not fit, if the output is taken, and if another tuning is at work on it.
    """
    request = Request.read(options)
    with locked(options.work, f"{options.work}: another nim4 finetune is at work here"):
        if done := _already_done(request):
            return done
        request.check_begun()
        for why in request.missing[:_MOST_TOLD]:
            tell(why)
        if len(request.missing) > _MOST_TOLD:
            tell(f"{len(request.missing)} recordings are not where the manifests say; they are left out")
        from nim4asr.training.finetuning.tuning import Tuning

        return Tuning(request, progress, tell).run()


def _already_done(request: Request) -> Outcome | None:
    """What the same command has led to before; raises ``InputError`` if the output is anything else."""
    options = request.options
    output, candidate = options.output, options.candidate
    if not output.exists() or (output.is_dir() and not any(output.iterdir())):
        return None
    row = finished(output)
    if row is None or row["command"] != request.command:
        raise InputError(f"{output}: this is there already; choose a new name for the tuned model")
    if row["weights"] == "new":
        shutil.rmtree(options.work, ignore_errors=True)
    elif options.force:
        if (candidate / CONFIG).exists():
            return None
        raise InputError(
            f"{output}: the old weights were kept here, and {candidate} with the new ones is gone; "
            "remove the folder to tune again"
        )
    left = candidate if row["weights"] == "old" and candidate.exists() else None
    return Outcome(row["weights"], row["verdict"], tuple(row["notes"]), left)
