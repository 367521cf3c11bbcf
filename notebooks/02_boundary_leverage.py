# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Boundary leverage, measured
#
# A segmentation model gives every pixel a *logit* $z$ and draws its outline where $z = 0$. Disturb the model, by pruning
# a head for instance, and the logits change by $\Delta z$. How far does the outline move? MedCore
# {cite}`zhang2026medcore` answers with its **boundary leverage principle**: to first order, a point of the outline moves
# along its normal by
#
# $$ d_0 = -\frac{\Delta z}{\lvert \nabla z \rvert}. $$
#
# The same change of the logits does little where the logits cross zero steeply and a lot where they cross it slowly, as a
# hand on a long lever moves more than a hand on a short one. Positive $d_0$ means that the outline *retreats* into the
# lesion. {prf:ref}`thm-displacement` proves the formula with a bound on its error. On this page you will
#
# 1. check it where everything is known, on analytic fields, and see the error shrink with the *square* of the disturbance;
# 2. check it on the logits of a real medical model while heads and channels are taken away, and see where it stops working;
# 3. ask which heads hold the outline, and whether a gradient can tell;
# 4. compare the authors' "boundary band" with a band around the boundary;
# 5. see why the boundary suffers more than Dice does.

# %% tags=["parameters"]
profile = "laptop"  # smoke, laptop or paper
seed = 0
polyps = ""  # your images: a MedSegBench .npz file, or a folder with images/ and masks/
checkpoint = ""  # your ViT-B checkpoint, for the paper profile

# %%
import itertools

import numpy as np
import pandas as pd
from medlib import boundary, ledger, models, plotting, pruning
from medlib.boundary import compare_displacements, displacements, pool
from medlib.data import boxes_from_masks, load_polyps, retina_photograph
from medlib.intervals import bootstrap_interval
from medlib.run import start
from scipy.ndimage import map_coordinates
from scipy.stats import spearmanr
from tqdm import tqdm

run = start("02_boundary_leverage", globals())
settings = run.profile.leverage
plotting.use_style()

# %% [markdown]
# ## Where everything is known
#
# We draw smooth random fields, disturb each with another smooth field, and shrink the disturbance step by step. The
# outline is followed on a bicubic spline through the pixel values, to a small fraction of a pixel; the *measured*
# displacement is the distance along the normal to where the disturbed spline crosses zero.

# %%
y, x = np.mgrid[:128, :128] / 64 - 1.0


def waves(generator: np.random.Generator, amplitude: float) -> np.ndarray:
    """A smooth random field on the square."""
    directions = generator.normal(scale=3, size=(6, 2))
    phases = generator.uniform(0, 2 * np.pi, size=6)
    terms = [np.cos(u * x + v * y + p) for (u, v), p in zip(directions, phases)]
    return amplitude * np.mean(terms, axis=0)


generator, sizes = run.generator("analytic fields"), 0.5 ** np.arange(0, 8)
curves = {}
for number in range(12):
    field = 6 * (0.4 - x**2 - y**2) + waves(generator, 3.0)
    curves[f"field {number + 1}"] = boundary.error_order(field, waves(generator, 1.0), sizes)
shown = dict(itertools.islice(curves.items(), 4))
ylabel = "median error of the prediction (pixels)"
figure = plotting.plot_orders(shown, "size of the disturbance (largest = 1)", ylabel)

# %% [markdown]
# *Each halving of the disturbance divides the error by about four: the lines have slope 2 on logarithmic axes.* That is what
# {prf:ref}`cor-order` promises. Over all twelve fields:

# %%
orders = [curve.order for curve in curves.values()]
order = run.record_mean("medcore.displacement.order", orders)
print(f"fitted order {order}; single fields from {min(orders):.2f} to {max(orders):.2f}")

# %% [markdown]
# ## A real model, disturbed
#
# Now the logits of a real network. We take attention heads or MLP channels away at random (which ones *should* go is the
# subject of Part II) and turn them down by a **gate**: at gate 1 they are gone, at gate 0.1 they are weakened by a
# tenth. Nothing is retrained, and every image gets a draw of its own, so that no conclusion hangs on one lucky or unlucky
# choice. Taking away a tenth of a network's heads is nothing like an infinitesimal disturbance; whether the first-order
# formula survives it is what we test.

# %%
samples = load_polyps(run.profile.segmentation, polyps, run.seed, limit=settings.images)
boxes = boxes_from_masks(samples.masks, names=samples.names)
model = models.load_segmenter(run.profile.segmentation, checkpoint).to(run.device)
intact = pruning.PruningMasks.keep_all(model.encoder)
generator = run.generator("cuts")
budgets = {f"{b:.0%} of heads": (b, 0.0) for b in settings.head_budgets}
budgets |= {f"{b:.0%} of channels": (0.0, b) for b in settings.channel_budgets}
strongest = [list(budgets)[len(settings.head_budgets) - 1], list(budgets)[-1]]

before, after, cuts = [], {}, {name: [] for name in budgets}
for number in tqdm(range(len(samples))):
    picture = ([samples.images[number]], boxes[number : number + 1], run.store)
    before += pruning.gated_logits(model, intact, *picture)
    for name, (heads, channels) in budgets.items():
        cuts[name].append(pruning.random_masks(model.encoder, heads, channels, generator))
        for gate in settings.gates if name in strongest else (1.0,):
            logits = pruning.gated_logits(model, cuts[name][-1].weakened(gate), *picture)
            after.setdefault((name, gate), []).extend(logits)
print(f"{model.name}: {len(samples)} images, each with {len(after)} disturbances of its own")

# %% [markdown]
# First one picture, to see what moves. No ground truth is needed to follow the model's *own* outline, so any photograph
# will do: here is a healthy retina, on which a box prompt asks for the optic disc, before and after a cut.

# %%
retina = retina_photograph(size=256)
print(retina.source)
photograph = ([retina.image], retina.box[None], run.store)
disc = pruning.gated_logits(model, intact, *photograph)[0]
disturbed = pruning.gated_logits(model, cuts[strongest[0]][0].weakened(0.5), *photograph)[0]
outline, moved = displacements(disc, disturbed)
title = f"{model.name}:\n{strongest[0]}, gate 0.5"
figure = plotting.plot_logit_field(
    retina.image, disc, disturbed, moved.points, moved.pixels, title
)

# %% [markdown]
# *Left: the outline of the optic disc before and after. Right: how far each of its points moved; gaps are points from which no
# outline was found any more within 10 pixels.* One and the same cut, and the outline moves far in some places and hardly in others.
#
# Is it the change of the logits that decides where, or their slope? We rank the points by how far they moved and compare.

# %%
found = ~moved.lost
guesses = {
    "|Δz| alone": np.abs(outline.pixels * outline.slopes),
    "1/|∇z| alone": 1 / outline.slopes,
    "|Δz| / |∇z|": np.abs(outline.pixels),
}
for label, guess in guesses.items():
    rank = spearmanr(guess[found], np.abs(moved.pixels[found])).statistic
    print(f"rank correlation with {label}: {rank:.2f}")

# %% [markdown]
# Now all images. Each dot below is one point of an outline: its predicted displacement across, its measured one up.

# %%
pairs = {
    key: [displacements(a, b) for a, b in zip(before, fields)] for key, fields in after.items()
}
panels = []
for name, gate in itertools.product(strongest, (settings.gates[0], settings.gates[-1])):
    both = [pool(contours).pixels for contours in zip(*pairs[name, gate])]
    panels.append(plotting.Agreement(f"{name}\ngate {gate:g}", *both))
figure = plotting.plot_agreement(panels, limit=4.0)

# %% [markdown]
# *At a small gate the points lie on the dashed line, where prediction and measurement agree. At gate 1 the cloud spreads and bends away
# from it. "Beyond" counts points outside the axes, "lost" those whose outline was not found within 10 pixels.*
#
# How good is the formula, then? It depends on how far it says a point will move, so we sort all points by that.

# %%
on_retina = [
    displacements(disc, pruning.gated_logits(model, cuts[name][0].weakened(gate), *photograph)[0])
    for name, gate in itertools.product(strongest, settings.gates)
]
edges, columns = (0.0, 0.1, 0.3, 1.0, 3.0, np.inf), {}
index = pd.Index([f"{a:g} to {b:g}" for a, b in itertools.pairwise(edges)], name="predicted (px)")
for label, found in (("", itertools.chain(*pairs.values())), (", retina", on_retina)):
    fits = pd.DataFrame(boundary.fits_by_size(*(pool(c) for c in zip(*found)), edges), index)
    columns |= {
        f"slope{label}": fits["slope"],
        f"median error{label}": fits["median_relative_error"],
    }
    columns |= {f"lost{label}": fits["lost_fraction"]}
pd.DataFrame(columns).round(2)

# %% [markdown]
# *Slope of measured against predicted displacement (1 is perfect), median of |measured − predicted| / |measured|, and the share of points
# that were lost; first for the images, then for the retina photograph.* Read the error column first, because over- and undershooting cancel in a slope. For displacements of a small part of a pixel
# the formula is quantitative: the typical error is a few per cent. It falls short as they grow (slopes above 1: outlines move further than
# foretold), and for points that are told to move by several pixels it is little more than a warning. The lost points matter: a table
# without them would look better the worse things got.

# %%
slopes = []
for number in range(len(samples)):
    both = (pool(c) for c in zip(*(found[number] for found in pairs.values())))
    slopes.append(compare_displacements(*both, largest=1.0).slope)
note = "one slope an image, all its cuts and gates together"
slope = run.record_mean("medcore.displacement.slope", slopes, note)
print(f"slope where at most 1 px is predicted: {slope}")

# %% [markdown]
# Does the error on a *network's* logits shrink with the square of the disturbance as well? We keep the direction of a real cut
# and scale it down: $z + t\,\Delta z$ with ever smaller $t$.

# %%
sizes = 0.5 ** np.arange(2, 9)
weak = after[strongest[0], settings.gates[-1]]
curves = {
    f"image {i + 1}": boundary.error_order(a, b - a, sizes)
    for i, (a, b) in enumerate(zip(before, weak))
}
shown = dict(itertools.islice(curves.items(), 4))
figure = plotting.plot_orders(shown, "scale t of a real change of the logits", ylabel)

# %% [markdown]
# *The network's logits behave like the analytic fields once the disturbance is small: slope 2 again.* This needs care. The gradient must come
# from the same spline that locates the outline; with the usual Sobel gradient, everything else equal, this is the error at the smallest scale:

# %%
order = run.record_mean("medcore.displacement.model_order", [c.order for c in curves.values()])
print(f"fitted order on the logits of {model.name}: {order}")

small = np.float32(sizes[-1]) * (weak[0] - before[0])
guess, truth = displacements(before[0], before[0] + small)
sobel = map_coordinates(boundary.spatial_gradient(before[0]), truth.points.T, order=1)
for label, slope in (("spline", guess.slopes), ("Sobel", sobel)):
    error = np.abs(guess.pixels * guess.slopes / slope / truth.pixels - 1)
    print(f"{label} gradient: median relative error {np.nanmedian(error):.2%}")

# %% [markdown]
# ## Which heads hold the outline?
#
# The principle turns the outline's position into a function of the network, so we can differentiate it. One backward pass
# attributes the mean displacement of the disc's outline to every head at once (gradient × activation, with captum
# {cite}`kokhlikyan2020captum`). If that foretold what happens when a head is removed, pruning would be easy. We draw a few heads, remove
# each for real, a little and then wholly, and compare.

# %%
contour = (model, retina.image, retina.box)
forecast = pruning.head_displacements(*contour, outline.points, outline.slopes)
heads = [(block, head) for block, row in enumerate(forecast) for head in range(len(row))]
drawn = [heads[i] for i in run.generator("heads").permutation(len(heads))[: settings.heads]]
shares = (0.05, 0.3, 1.0)
removal = pruning.remove_heads(*contour, drawn, shares, run.store, progress=True)
forecasts = np.array([float(forecast[block][head]) for block, head in drawn])
panels = [
    plotting.Agreement(f"{shares[k]:.0%} of the head gone", forecasts, removal.pixels[:, k])
    for k in (0, -1)
]
reach = 1.1 * np.abs([panel.measured for panel in panels] + [forecasts]).max()
figure = plotting.plot_agreement(panels, limit=reach)

# %% [markdown]
# *One dot a head: the gradient's forecast of the outline's mean displacement across, what happened up (for a head removed in part, scaled up
# to the whole).* The gradient describes the direction in which one *starts* to remove a head, and the network bends before the head is gone.


# %%
rows = []
for share, column, lost in zip(shares, removal.pixels.T, removal.lost.T):
    value = np.corrcoef(forecasts, column)[0, 1]
    interval = bootstrap_interval(
        lambda a, b: np.corrcoef(a, b)[0, 1], forecasts, column, generator=run.generator("heads")
    )
    rows.append([f"{share:.0%}", value, *interval, lost.mean()])
note = "heads drawn at random, retina photograph"
ledger.record("medcore.heads.gradient", value, interval, n=len(drawn), note=note)
columns = ["head removed", "correlation", "low", "high", "lost share"]
pd.DataFrame(rows, columns=columns).set_index("head removed").round(2)

# %% [markdown]
# *Correlation of forecast and measurement over the drawn heads, its 95 % interval, and the share of outline points that were lost.* The forecast ranks
# the heads well for the first few per cent. For whole heads it is much less certain, and with so few of them the interval is wide. Two later
# parts of the book grow from here: Part II asks whether second-order scores do better, and Part III follows the whole path instead of its first step.
#
# ## A band that is not a band
#
# MedCore's leverage figures are meant to be taken near the true boundary, within $\tau$ pixels of it. The authors' script builds that band from
# two distance maps, one inside the lesion and one outside, and keeps the pixels where the *smaller* of the two is at most
# $\tau$. But every pixel is either inside or outside, so one of its two distances is 0, and the smaller one is always 0:
# {prf:ref}`prop-band`. We build both bands on the same masks.

# %%
mask = samples.masks[0]
bands = {
    "within 3 px of the boundary": boundary.boundary_band(mask, 3),
    "the script's band, τ = 3": boundary.boundary_band(mask, 3, "whole_image"),
}
figure = plotting.plot_bands(samples.images[0], mask, bands)

# %% [markdown]
# *The white line is the true boundary, blue is the band. The script's band is the whole picture.*

# %%
bands = {
    rule: [boundary.boundary_band(m, 3, rule).mean() for m in samples.masks]
    for rule in ("whole_image", "both_sides")
}
run.record_mean("medcore.band.whole_image", bands["whole_image"])
run.record_mean("medcore.band.boundary", bands["both_sides"])

size, rows = sum(p.numel() for p in model.encoder.parameters()), []
authors = {"band": "whole_image", "floor": "stack", "padding": "zeros"}
for name, masks in cuts.items():
    points = [100 * pruning.removed_parameters(model.encoder, m) / size for m in masks]
    steps = zip(before, after[name, 1.0], samples.masks, points)
    found = [
        [
            boundary.leverage_step(a[None], b[None], m[None], tau, c, **options).p95
            for options, tau in itertools.product(({}, authors), (3, 5))
        ]
        for a, b, m, c in steps
    ]
    rows.append([name, np.mean(points), *np.median(found, axis=0)])
columns = ["cut", "% gone", "τ = 3", "τ = 5", "script, τ = 3", "script, τ = 5"]
pd.DataFrame(rows, columns=columns).set_index("cut").round(2)

# %% [markdown]
# *λ95 of each cut, in pixels per percentage point of the encoder, median over images.* λ95 is the 95th percentile of
# $\lvert\Delta z\rvert / \lvert\nabla z\rvert$ over the band, divided by the percentage points of encoder parameters removed: it looks at the
# worst twentieth of the pixels, where the tables above looked at the middle. In the two "script" columns, which follow the authors' conventions
# throughout, τ changes nothing. That is the defect in a nutshell: a quantity called *boundary* leverage that does not know where the
# boundary is. What this does to the paper's headline ratio is a question for Part II.
#
# ## Why Dice does not see it
#
# Move an outline of length $L$ by $d$ pixels and the area that changes is about $L\,d$. Dice divides it by the lesion's whole area
# ({prf:ref}`prop-area`); Boundary F1 compares bands a few pixels wide and, beyond the 2 pixels that its tolerance forgives, loses its score within a
# few more ({prf:ref}`prop-bf1`). So the same cut should cost Boundary F1 more than it costs Dice.


# %%
def scores(fields: list) -> pd.DataFrame:
    """Dice and Boundary F1 of each image."""
    rows = [boundary.segmentation_scores(z > 0, m) for z, m in zip(fields, samples.masks)]
    return pd.DataFrame(rows)[["dice", "boundary_f1"]]


lost = {name: scores(before) - scores(after[name, 1.0]) for name in cuts}
points = {name: (table["dice"], table["boundary_f1"]) for name, table in lost.items()}
figure = plotting.plot_trade_off(points, "Dice lost", "Boundary F1 lost (with tolerance)")

# %% [markdown]
# *One marker an image and cut. Above the dashed line, the boundary loses more than the overlap; left of zero, the cut happened to help.* A few
# images carry most of both losses, so we look at two numbers: the ratio of all losses, and what Boundary F1 loses where Dice hardly changes.

# %%
dice_lost, bf1_lost = (
    np.array([table[score] for table in lost.values()]).T for score in ("dice", "boundary_f1")
)
totals = (bf1_lost.mean(axis=1), dice_lost.mean(axis=1))
interval = bootstrap_interval(
    lambda b, d: b.mean() / d.mean(), *totals, generator=run.generator("ratio")
)
note = "random heads and channels, no recovery; whole images resampled"
value = totals[0].mean() / totals[1].mean()
ratio = ledger.record("medcore.dice_bf1.ratio", value, interval, n=len(samples), note=note)
print(f"Boundary F1 lost for each unit of Dice: {ratio}")

kept = np.abs(dice_lost) <= 0.02
paid = [row[k].mean() for row, k in zip(bf1_lost, kept) if k.any()]
paid = run.record_mean("medcore.dice_bf1.kept", paid, note)
print(
    f"Boundary F1 lost where Dice moved by at most 0.02 ({kept.mean():.0%} of the cuts): {paid}"
)

# %% [markdown]
# A ratio above 1 alone is weak evidence, because Boundary F1 uses more of its scale than Dice does: the blind ellipse of
# {doc}`/notebooks/01_dice_and_boundaries` scores far lower in it too. The second number is the paper's point proper: an overlap that hardly
# moved, and a boundary that did.
#
# ## What reproduced, and what did not

# %%
run.verdicts()

# %% [markdown]
# **In short.** The leverage formula is right, with the second-order error that theory promises, on analytic fields and on a real network.
# It is *quantitative* while outlines move by a small part of a pixel. A real cut moves some points by several pixels, and there the formula
# only warns, and loses points. A gradient foretells the first step of removing a head, not its removal. The boundary does suffer more than Dice, as
# the paper says. But the band in the authors' script is the whole image, so its leverage figures are not measured at the boundary.
