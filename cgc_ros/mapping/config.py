"""Every number that steers mapping, in one tree; ROS parameters and `cgc map --set` are made from these fields.

Rooms below declare their own (`stereo.config`, `segmentation.config`) and are composed here.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from cgc_ros.declared import Settings, choice, group, number, odd
from cgc_ros.mapping.change_config import ChangeConfig
from cgc_ros.segmentation.config import (
    AssociationConfig,
    BackgroundConfig,
    FloaterConfig,
    LabellingConfig,
    NamesConfig,
    PartConfig,
    StrayConfig,
)
from cgc_ros.stereo.config import FillingConfig, StereoConfig

_MANY = 100_000_000  # steps, pixels, Gaussians: more than any run has


@dataclass(frozen=True)
class BudgetConfig(Settings):
    """Shares of the mapper's time (`mapping.budget`). Stereo, votes and objects share what training leaves them; what
    one of them does not need goes to the others, and then to training.
    """

    train: float = number(0.72, "of the time for training, once no frames come", 0.01, 0.99)
    train_while_frames: float = number(0.5, "of the time for training, while frames come", 0.01, 0.99)
    calm_after: float = number(2.0, "of work without a frame, after which none come", 0, 3600, "s")
    least: float = number(
        0.12, "for stereo, votes and objects together, at least, whatever frames and snapshots cost", 0.001, 0.99
    )
    stereo: float = number(0.5, "of what is left, for depth of keyframes without a depth image", 0.001, 1)
    votes: float = number(0.2, "of what is left, for keyframes' masks that vote", 0.001, 1)
    objects: float = number(0.3, "of what is left, for association, labelling and parts", 0.001, 1)


@dataclass(frozen=True)
class KeyframeConfig(Settings):
    """When a frame becomes a keyframe, and how many are held."""

    max_keyframes: int = number(150, "held in memory; beyond it the most redundant one leaves", 1, 1_000_000)
    min_translation: float = number(
        0.02, "motion of the camera that makes a keyframe, in median depths of what it sees", 0, 10
    )
    min_rotation_deg: float = number(2.0, "turn of the camera that makes a keyframe", 0.01, 180, "deg")
    min_unexplained: float = number(0.05, "share of pixels without a map that makes a keyframe", 0, 1)
    min_world: float = number(0.05, "share of pixels that must not be ignored, or a frame is none to keep", 0, 1)
    empty_alpha: float = number(0.3, "opacity below which a pixel is without a map", 0, 1)
    standing_still: float = number(
        0.25, "of the two thresholds of motion: a frame nearer to a keyframe than this shows nothing new", 0, 1
    )
    look_width: int = number(160, "width of the quick render that tells what a frame adds", 16, 4096, "px")


@dataclass(frozen=True)
class EdgeConfig(Settings):
    """Which way the image runs, and where a surface ends: what shapes new Gaussians."""

    gradient_sigma: float = number(1.0, "blur before the gradient: noise has no direction", 0.1, 20, "px")
    direction_sigma: float = number(2.0, "standard deviation over which directions are averaged", 0.1, 50, "px")
    plain: float = number(1e-5, "squared change of grey (0..1) per pixel below which there is no direction", 1e-12, 1)
    depth_step: float = number(0.04, "relative change of depth from pixel to pixel that ends a surface", 0, 1)
    least_sigma: float = number(
        0.7, "standard deviation of a new Gaussian beside a step of depth, at least", 0.1, 20, "px"
    )


@dataclass(frozen=True)
class SeedingConfig(Settings):
    """Where new Gaussians are put, and how many."""

    working_pixels: int = number(
        307_200, "larger images are looked at with about so many, which is 640x480", 1024, 100_000_000, "px"
    )
    max_per_keyframe: int = number(5_000, "new Gaussians of one keyframe at most", 0, _MANY)
    min_density: float = number(0.006, "new Gaussians on plain surfaces, per pixel of an image 640 wide", 0, 10)
    max_density: float = number(0.2, "the most new Gaussians, on the finest detail, in the same unit", 0, 10)
    detail_gain: float = number(1.2, "density for a Laplacian of 1 (grey levels in 0..1), in the same unit", 0, 1000)
    detail_sigma: float = number(1.0, "blur before the Laplacian: noise is no detail", 0.1, 20, "px")
    refine_share: float = number(0.25, "of the density that the render lacks where the map covers the image", 0, 1)
    refine_after: int = number(
        10, "on a keyframe, after which the detail it still lacks is seeded once; 0: never", 0, _MANY, "steps"
    )
    refine_late_share: float = number(0.6, "of the density that is lacking after refine_after", 0, 1)
    spread: float = number(0.6, "standard deviation of a new Gaussian, in units of 1 / sqrt(density)", 0.01, 10)
    max_radius: float = number(
        12.0, "standard deviation of a new Gaussian at most, before it is stretched", 0.1, 1000, "px"
    )
    covered_alpha: float = number(0.6, "opacity below which a pixel is not covered yet", 0, 1)
    opacity: float = number(0.7, "of a new Gaussian, where a depth camera tells where it is", 0.01, 0.99)
    stereo_opacity: float = number(
        0.3, "of a new Gaussian elsewhere: training makes opaque what other views bear out", 0.01, 0.99
    )
    unsure_opacity: float = number(
        0.5, "share of it where depth is a guess; more, the more confident stereo is", 0.02, 1
    )
    elongation: float = number(
        3.0, "longer over shorter axis, in the image, of a new Gaussian on an edge at most", 1, 100
    )
    border_share: float = number(
        0.5, "of the distance to the next step of depth: standard deviation of a new Gaussian at most", 0, 10
    )
    least_cosine: float = number(
        0.6, "between line of sight and normal, beyond which Gaussians are not stretched further", 0.01, 1
    )
    flatness: float = number(0.25, "thickness of a new Gaussian along its normal, in units of its radius", 0.001, 1)
    normal_step: int = number(2, "to either side, over which a surface's slope is taken", 1, 50, "px")
    carve_margin: float = number(
        0.08, "relative depth by which a Gaussian before a measured surface must miss it to be faded", 0, 1
    )
    carve_confidence: float = number(
        0.8, "of depth, from which on the Gaussians before it are faded; a depth camera has 1", 0, 1
    )
    carve_window: int = number(
        7, "side of the window whose nearest depth counts as the measured surface", 1, 99, "px", rule=odd
    )
    carve_fading: float = number(
        2.0, "taken off the logit of a faded Gaussian's opacity: 0.7 becomes 0.24, then 0.04", 0, 20
    )
    relative_depth_error: float = number(
        0.06, "by which a rendered depth that lies farther behind the measured one does not cover it", 0, 1
    )
    edges: EdgeConfig = group(EdgeConfig)


@dataclass(frozen=True)
class DepthConfig(Settings):
    """How keyframes without a depth image get theirs, and how a map begins without any."""

    min_coverage: float = number(0.05, "share of a view that stereo must settle for its depth to be used", 0, 1)
    max_tries: int = number(4, "times that a keyframe is matched, each after new partners came", 1, 1000)
    looks_again: int = number(
        4, "keyframes that would be next, of which the map is asked anew how much it explains, before a match", 0, 1000
    )
    stereo_trust: float = number(0.3, "weight of stereo depth in training, relative to a depth camera's", 0, 1)
    start_coverage: float = number(0.15, "as min_coverage, for the first keyframe of a map", 0, 1)
    start_tries: int = number(8, "failed matches, of any keyframe, after which a map begins with a guess", 1, 1000)
    start_reaches: int = number(
        3, "baselines that a start takes partners at in turn: the widest, half of it, a quarter, ...", 1, 16
    )


@dataclass(frozen=True)
class TrainingConfig(Settings):
    """Photometric training."""

    image_scale: float = number(0.5, "of the input, for a keyframe's first steps and between full ones", 0.01, 1)
    coarse_steps: int = number(8, "on a keyframe, before it is rendered at full size, too", 0, _MANY, "steps")
    full_scale_every: int = number(
        2, "every n-th step on a keyframe, after coarse_steps, is at full size; 0: none", 0, 100_000
    )
    ssim_weight: float = number(0.2, "of 1 - SSIM in the photometric loss; the rest is L1", 0, 1)
    depth_weight: float = number(0.15, "of the relative depth error, where the frame has depth", 0, 100)
    depth_min_alpha: float = number(0.3, "opacity of a pixel, above which its depth is compared", 0, 1)
    depth_max_error: float = number(0.5, "of the depth: pixels that are farther off pull no more", 0, 1000)
    opacity_weight: float = number(0.002, "pulls towards fewer, more opaque Gaussians", 0, 100)
    coverage_weight: float = number(
        0.2, "of the mean transparency of a view from a depth camera: every pixel shows something", 0, 100
    )
    anisotropy_weight: float = number(0.02, "penalises needles, see max_anisotropy", 0, 100)
    max_anisotropy: float = number(6.0, "longest over middle axis beyond which a Gaussian is a needle", 1, 10_000)
    newest_share: float = number(0.2, "of steps, spent on the newest keyframes", 0, 1)
    newest_count: int = number(3, "keyframes that count as the newest", 1, 100_000)
    loss_memory: float = number(
        0.7, "share of a keyframe's running loss that a step leaves: what is rendered badly is chosen more often", 0, 1
    )
    means_rate: float = number(0.04, "per step, of a Gaussian's own size, the mean of its two longer axes", 0, 10)
    quats_rate: float = number(1e-3, "per step, of quaternions' components", 0, 10)
    scales_rate: float = number(2e-2, "per step, of the logarithm of standard deviations", 0, 10)
    opacities_rate: float = number(2.5e-2, "per step, of the logit of opacities", 0, 10)
    colors_rate: float = number(2.5e-3, "per step, of the coefficients of spherical harmonics", 0, 10)
    settle_steps: int = number(
        1200, "over which a keyframe's rates fall to settled_rate, and again by as much, to least_rate", 1, _MANY
    )
    settled_rate: float = number(0.3, "factor of a keyframe's rates after settle_steps", 0.001, 1)
    least_rate: float = number(0.05, "factor of the rates, however old a keyframe is: light and things change", 0, 1)
    least_color_rate: float = number(0.3, "factor of the rate of colours, at least: light changes soonest", 0, 1)
    exposure_rate: float = number(5e-3, "per step, of a keyframe's gain and offset per colour channel", 0, 10)
    exposure_cost: float = number(0.02, "of a keyframe's gain and offset, in units of the loss", 0, 100)
    exposure_knee: float = number(
        1e-3, "gain and offset (colour 0..1) below which exposure_cost falls with them", 1e-9, 1
    )
    pose_rate: float = number(0.0, "per step, of radians and depth-relative metres; 0 keeps the given poses", 0, 10)
    correction_pull: float = number(
        1e-3, "share of exposure and pose taken back per step: the map as a whole cannot drift", 0, 1
    )


@dataclass(frozen=True)
class DensityConfig(Settings):
    """Removing and refining Gaussians under a hard cap."""

    max_gaussians: int = number(200_000, "that the map may have", 1, 2**31 - 1)
    prune_every: int = number(100, "between two looks for useless Gaussians", 1, _MANY, "steps")
    min_opacity: float = number(0.04, "fainter Gaussians are removed", 0, 1)
    min_age: int = number(100, "before a Gaussian may be removed", 0, _MANY, "steps")
    max_radius: float = number(
        0.25, "standard deviation beyond which one is removed, in median depths of the scene", 0, 1000
    )
    make_room: float = number(
        0.05, "share of the cap that the least important Gaussians free when a keyframe finds it full", 0, 1
    )
    newcomer_share: float = number(
        0.35, "of a new Gaussian's contribution counts beside those of old ones, which are trained already", 0, 10
    )
    lone_every: int = number(
        6, "between two keyframes looked from for Gaussians that no other shows; 0: none", 0, _MANY, "steps"
    )
    lone_share: float = number(
        0.6, "of a Gaussian's contribution to all keyframes, from which one alone shows it", 0, 1
    )
    lone_depth: float = number(0.7, "of the median depth of that one's view: such as lie nearer fade", 0, 1)
    contribution_width: int = number(160, "of the renders that contributions are measured in", 8, 10_000, "px")
    contribution_first: int = number(24, "keyframes, as different as can be, measured before any may leave", 1, 100_000)
    contribution_again: int = number(4, "keyframes measured again whenever Gaussians are to leave", 1, 100_000)


@dataclass(frozen=True)
class SegmentationConfig(AssociationConfig):
    """From masks to objects: association's own numbers, and when what is done beside training."""

    contrastive_every: int = number(6, "between two of the feature field", 1, _MANY, "steps")
    contrastive_pixels: int = number(2048, "pixels sampled in a step of the feature field", 2, _MANY)
    contrastive_rate: float = number(1e-2, "per step of the feature field", 0, 10)
    spatial_every: int = number(25, "between two with the spatial loss", 1, _MANY, "steps")
    spatial_sample: int = number(400, "Gaussians sampled for the spatial loss", 2, 100_000)
    revote_every: int = number(
        8, "after which the keyframe with the oldest votes votes again: Gaussians move", 1, _MANY, "steps"
    )
    vote_scale: float = number(0.5, "of the input, at which masks vote", 0.01, 1)
    min_vote_weight: float = number(
        0.05, "summed alpha * T of a Gaussian in a view that votes on it: with less it is not seen", 0, 1000, "px"
    )
    min_mask_pixels: int = number(100, "of the input's own size: smaller masks are left out, as in the paper", 1, _MANY)
    cluster_every: int = number(
        40, "after which objects are updated by whatever has voted since, a piece at every step", 1, _MANY, "steps"
    )
    min_news: int = number(
        3,
        "new keyframes with masks after which objects are updated sooner; at least news_share of those held",
        1,
        1_000_000,
    )
    news_share: float = number(0.03, "share of the keyframes with masks that must be new for that", 0, 1)
    min_views: int = number(2, "keyframes that must support an object", 1, 1_000_000)
    min_gaussians: int = number(8, "that an object must have", 1, _MANY)
    min_likeness: float = number(
        0.85, "cosine from which a Gaussian that votes leave open takes the likest prototype's object", -1, 1
    )
    fill_neighbours: int = number(6, "labelled Gaussians whose objects such a one may take", 2, 1000)
    fill_reach: float = number(0.05, "distance within which those must lie, in typical distances of the scene", 0, 100)
    parts_every: int = number(
        400, "after which objects are cut into parts anew, where masks come at two levels", 1, _MANY, "steps"
    )
    labelling: LabellingConfig = group(LabellingConfig)
    strays: StrayConfig = group(StrayConfig)
    background: BackgroundConfig = group(BackgroundConfig)
    parts: PartConfig = group(PartConfig)


@dataclass(frozen=True)
class SnapshotConfig(Settings):
    """What the map shows of itself: views, objects, their clouds."""

    known_alpha: float = number(0.5, "opacity below which a pixel is unknown: no depth, no label", 0, 1)
    min_label_share: float = number(0.3, "of a pixel's weight that the winning object must hold", 0, 1)
    solid_opacity: float = number(0.5, "of the Gaussians that are an object's surface", 0, 1)
    min_object_gaussians: int = number(5, "of the surface, that an object is shown from", 1, _MANY)
    point_spacing: float = number(0.004, "of an object's cloud, in typical distances of the scene", 1e-5, 1)
    max_points: int = number(20_000, "of one object's cloud", 1, _MANY)
    stale_share: float = number(
        0.02, "of an object's Gaussians that must have changed for its cloud to be made anew", 0, 1
    )
    stale_motion: float = number(0.25, "from which a Gaussian has changed its place or size, in point spacings", 0, 100)
    stale_color: float = number(8.0, "from which it has changed its colour, of 255", 0, 255)
    floaters: FloaterConfig = group(FloaterConfig)


@dataclass(frozen=True)
class PaperConfig(Settings):
    """The offline recipe of Contrastive Gaussian Clustering (arXiv 2404.12784) on 3D Gaussian Splatting's own schedule.

    Published numbers throughout, unless a text says "ours" (docs/paper_recipe.md). What is published as a number of
    steps of 30,000 is a share of the run here, so that a run can be shorter.
    """

    iterations: int = number(30_000, "of the run", 1, _MANY, "steps")
    start_after: float = number(2.0, "without a new frame after which training starts; ours", 0, 3600, "s")
    sh_degree: int = number(3, "of spherical harmonics; replaces the mapper's", 0, 3)
    initial_points: int = number(
        20_000, "about what structure from motion gives, drawn from depth instead; ours", 1, _MANY
    )
    initial_opacity: float = number(0.1, "of an initial Gaussian", 0.001, 0.999)
    stereo_views: int = number(24, "without depth images: views that stereo gives points for; ours", 1, 10_000)
    ssim_weight: float = number(0.2, "of 1 - SSIM in the photometric loss; the rest is L1", 0, 1)
    means_rate: float = number(
        1.6e-4, "of the cameras' extent per step; falls exponentially to final_means_rate", 1e-12, 1
    )
    final_means_rate: float = number(1.6e-6, "of the cameras' extent per step, at the end", 1e-12, 1)
    quats_rate: float = number(1e-3, "per step, of quaternions' components", 0, 10)
    scales_rate: float = number(5e-3, "per step, of the logarithm of standard deviations", 0, 10)
    opacities_rate: float = number(5e-2, "per step, of the logit of opacities", 0, 10)
    colors_rate: float = number(2.5e-3, "per step, of the first band of spherical harmonics", 0, 10)
    harmonics_share: float = number(0.05, "of colors_rate, for all other bands", 0, 1)
    features_rate: float = number(2.5e-3, "per step, of features", 0, 10)
    raise_harmonics: float = number(1 / 30, "share of the run after which the next band of harmonics joins", 1e-6, 1)
    densify_from: float = number(1 / 60, "share of the run before densification begins", 0, 1)
    densify_until: float = number(0.5, "share of the run after which densification ends", 0, 1)
    densify_every: float = number(
        1 / 300, "share of the run between two densifications, of densify_min_steps at least", 0, 1
    )
    densify_min_steps: int = number(
        50, "between two densifications at least; ours, the published interval is 100", 1, _MANY, "steps"
    )
    screen_gradient: float = number(
        2e-4, "of the loss, in normalised device coordinates, from which a Gaussian grows", 0, 1
    )
    clone_size: float = number(0.01, "of the cameras' extent: smaller Gaussians are cloned, larger ones split", 0, 10)
    min_opacity: float = number(0.005, "fainter Gaussians are removed", 0, 1)
    max_size: float = number(
        0.1, "of the cameras' extent: larger ones are removed after the first opacity reset", 0, 10
    )
    reset_every: float = number(0.1, "share of the run between two opacity resets, of reset_min_steps at least", 0, 1)
    reset_min_steps: int = number(
        500, "between two opacity resets at least; ours, the published interval is 3,000", 1, _MANY, "steps"
    )
    reset_opacity: float = number(0.01, "after a reset, at most", 0.0001, 0.999)
    contrastive_every: int = number(50, "between two with the contrastive loss", 1, _MANY, "steps")
    contrastive_weight: float = number(1e-6, "of the sum over a mask's pixels", 0, 100)
    min_mask_pixels: int = number(100, "smaller masks are left out", 1, _MANY)
    spatial_every: int = number(100, "between two with the spatial loss", 1, _MANY, "steps")
    spatial_sample: int = number(1000, "Gaussians sampled for the spatial loss; ours", 2, 100_000)
    cluster_every: float = number(
        0.2, "share of the run between two clusterings into objects, the last at its end; ours", 1e-6, 1
    )
    cluster_sample: int = number(5000, "Gaussians that HDBSCAN looks at; ours", 10, 10_000_000)
    cluster_share: float = number(0.004, "of that sample: least size of an object; ours", 0, 1)


def _unit(vector: tuple[float, float, float]) -> str:
    return "" if math.isclose(math.hypot(*vector), 1.0, abs_tol=1e-3) else "must have length 1"


@dataclass(frozen=True)
class MapperConfig(Settings):
    """All settings of a mapper. `paper` matters to the offline recipe only and makes no ROS parameters."""

    backend: str = choice(
        "auto", "what renders and trains: gsplat on an NVIDIA GPU, cpu anywhere", ("auto", "gsplat", "cpu")
    )
    seed: int = number(0, "of everything random; on the CPU a seeded run repeats", 0, 2**31 - 1)
    sh_degree: int = number(2, "of the view-dependent colour; 0: none", 0, 3)
    recipe: str = choice(
        "default", "default, or the published method's schedule as an offline baseline", ("default", "paper")
    )
    up: tuple[float, float, float] = number(
        (0.0, 0.0, 1.0), "vertical of the map frame, a unit vector (REP-103: z up)", -1, 1, rule=_unit
    )
    budget: BudgetConfig = group(BudgetConfig)
    keyframes: KeyframeConfig = group(KeyframeConfig)
    seeding: SeedingConfig = group(SeedingConfig)
    depth: DepthConfig = group(DepthConfig)
    stereo: StereoConfig = group(StereoConfig)
    filling: FillingConfig = group(FillingConfig)
    training: TrainingConfig = group(TrainingConfig)
    density: DensityConfig = group(DensityConfig)
    segmentation: SegmentationConfig = group(SegmentationConfig)
    change: ChangeConfig = group(ChangeConfig)
    names: NamesConfig = group(NamesConfig)
    snapshot: SnapshotConfig = group(SnapshotConfig)
    paper: PaperConfig = group(PaperConfig)
