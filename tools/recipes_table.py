"""Makes the documentation's table of recipes from the recipes themselves."""

from keras_nfnets.recipes import RECIPES

HEAD = (
    "recipe",
    "epochs",
    "batch",
    "learning rate",
    "L2",
    "dropout",
    "AGC",
    "train / test px",
    "RandAugment",
    "SAM",
)


def table():
    """Returns the table in Markdown."""
    rows = [HEAD, ["---"] * len(HEAD)]
    rows += [_row(name, recipe) for name, recipe in RECIPES.items()]
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def _row(name, recipe):
    layers, magnitude = (
        recipe.randaugment_layers,
        recipe.randaugment_magnitude,
    )
    return [
        f"`{name}`",
        f"{recipe.epochs:,}",
        f"{recipe.batch_size:,}",
        f"{recipe.learning_rate:g}",
        f"{recipe.l2:g}",
        f"{recipe.dropout:g}",
        f"{recipe.clipping:g}" if recipe.clipping else "none",
        f"{recipe.train_size} / {recipe.test_size}",
        f"{layers} x {magnitude}" if layers else "none",
        f"rho {recipe.sam_rho:g}" if recipe.sam_rho else "",
    ]
