"""The pipelines: portrait and motion in, frames out."""

# transformers.pipelines must be complete before our pipelines are imported, because its completion registers ours
# (superface_hf.registration), which must not happen while ours is half imported.
import transformers.pipelines  # noqa: F401
