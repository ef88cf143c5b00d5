"""Portrait and motion in, frames out."""

# transformers' pipelines have to be complete before ours is being imported: their completion registers ours
# (superface_hf.registration), and that must not happen in the middle of importing it.
import transformers.pipelines  # noqa: F401
