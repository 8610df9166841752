"""How an estimator declares that it takes complex data: a tag beside scikit-learn's own."""

from dataclasses import dataclass, fields

from sklearn.utils import InputTags, get_tags


@dataclass(slots=True)
class ComplexInputTags(InputTags):
    """scikit-learn's tags of the input, and whether it may be complex."""

    complex: bool = True


class ComplexSupportMixin:
    """Declares that ``fit`` and ``predict`` take complex data; stands before ``BaseEstimator``.

    The checks of :mod:`sparseopt.testing` for complex data then apply to the estimator.
    """

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        known = {field.name: getattr(tags.input_tags, field.name) for field in fields(InputTags)}
        tags.input_tags = ComplexInputTags(**known)
        return tags


def accepts_complex(estimator):
    """Tell whether an estimator declares that it takes complex data."""
    return getattr(get_tags(estimator).input_tags, "complex", False)
