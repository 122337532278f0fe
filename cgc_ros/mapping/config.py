"""Every number that steers mapping, in one place; ROS parameters and command-line flags are made from these fields."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class KeyframeConfig:
    """When a frame becomes a keyframe, and how many are held."""

    max_keyframes: int = 150  # held in memory; beyond it the most redundant one leaves
    min_translation: float = 0.02  # of the median scene depth: camera motion that makes a keyframe
    min_rotation_deg: float = 2.0
    min_unexplained: float = 0.05  # share of pixels that the map does not cover yet (opacity below 0.3)
    max_jump: float = 0.0  # metres; a larger jump of the pose between frames is refused (0: never)


@dataclass(frozen=True)
class SeedingConfig:
    """Where new Gaussians are put, and how many."""

    stereo_every: int = 4  # training steps between two keyframes that are matched, where frames have no depth
    max_per_keyframe: int = 5_000
    min_density: float = 0.006  # Gaussians per pixel of a 640 pixels wide image, on plain surfaces
    max_density: float = 0.2  # Gaussians per pixel on the finest detail
    refine_share: float = 0.25  # of the density that the render lacks where the map covers the image already
    refine_after: int = (
        10  # training steps on a keyframe after which the detail it still lacks is seeded once (0: never)
    )
    refine_late_share: float = 0.6  # of the density lacking then
    spread: float = 0.6  # standard deviation of a new Gaussian, in units of 1 / sqrt(density)
    covered_alpha: float = 0.6  # a pixel with less opacity than this is not covered yet
    opacity: float = 0.7  # of a new Gaussian
    unsure_opacity: float = 0.5  # share of it where depth is a guess; more, the more confident stereo is
    elongation: float = 3.0  # longer over shorter axis, in the image, of a new Gaussian on an edge at most
    border_share: float = 0.5  # of the distance to the next step of depth: a new Gaussian's standard deviation at most
    least_cosine: float = 0.6  # between line of sight and normal, beyond which Gaussians are not stretched further
    flatness: float = 0.25  # thickness of a new Gaussian along its surface's normal, relative to its radius
    carve_margin: float = 0.08  # relative depth by which a Gaussian before a measured surface must miss it to be faded
    carve_confidence: float = 0.8  # share of full confidence from which depth fades the Gaussians before it
    relative_depth_error: float = 0.06  # the rendered depth lies farther behind the measured one: not covered


@dataclass(frozen=True)
class TrainingConfig:
    """Photometric training."""

    image_scale: float = 0.5  # of the input's size, for a keyframe's first steps and between full ones
    coarse_steps: int = 8  # training steps on a keyframe before it is rendered at the input's own size, from then on
    full_scale_every: int = 2  # every n-th time (0: never)
    ssim_weight: float = 0.2
    depth_weight: float = 0.15  # of the relative depth error, where the frame has depth
    opacity_weight: float = 0.002  # pulls towards fewer, more opaque Gaussians
    coverage_weight: float = 0.2  # of the mean transparency of a view from a depth camera: every pixel shows something
    anisotropy_weight: float = 0.02  # penalises needles: longest over middle axis beyond `max_anisotropy`
    max_anisotropy: float = 6.0
    newest_share: float = 0.2  # share of steps spent on the newest keyframes
    newest_count: int = 3
    means_rate: float = 0.04  # of a Gaussian's own size, the mean of its two longer axes
    quats_rate: float = 1e-3
    scales_rate: float = 2e-2
    opacities_rate: float = 2.5e-2
    colors_rate: float = 2.5e-3
    exposure_rate: float = 5e-3
    exposure_cost: float = 0.02  # of a keyframe's gain and offset per channel, in units of the loss
    pose_rate: float = 0.0  # radians and depth-relative metres; 0 keeps the given poses
    settle_steps: int = 1200  # over which a keyframe's rates fall to `settled_rate`, and again by as much, to 0.05
    settled_rate: float = 0.3


@dataclass(frozen=True)
class DensityConfig:
    """Removing and refining Gaussians under a hard cap."""

    max_gaussians: int = 200_000
    prune_every: int = 100  # steps
    min_opacity: float = 0.04
    min_age: int = 100  # steps before a Gaussian may be removed
    max_radius: float = 0.25  # of the scene's median depth: larger Gaussians are removed
    make_room: float = 0.05  # share of the cap that the least important Gaussians free when a keyframe finds it full


@dataclass(frozen=True)
class SegmentationConfig:
    """From masks to objects."""

    contrastive_every: int = 6  # steps
    contrastive_pixels: int = 2048  # sampled per step
    contrastive_rate: float = 1e-2
    spatial_every: int = 25
    spatial_sample: int = 400
    revote_every: int = 8  # steps after which the keyframe whose votes are oldest votes again: Gaussians move
    votes_per_step: int = 2  # keyframes with new masks that vote in one step
    cluster_every: int = 40  # steps for every 20 keyframes with masks: then all are associated anew, or earlier with
    min_news: int = 3  # this many new keyframes, or
    news_share: float = 0.1  # this share of those held, whichever is more
    parts_every: int = 400  # steps after which objects are cut into parts anew, where masks come at two levels
    min_mask_pixels: int = 100  # at the input's own size, as in the paper
    vote_scale: float = 0.5  # image scale at which masks vote
    consensus: float = 0.5  # mean agreement of the views that see two masks, from which on they are one object
    purity: float = 0.65  # a mask that other views scatter more than this covers several objects and is left out
    min_likeness: float = 0.85  # cosine from which a Gaussian that votes leave open takes the likest prototype's object
    min_views: int = 2  # keyframes that must support an object
    min_gaussians: int = 8  # that carry it


@dataclass(frozen=True)
class PaperConfig:
    """The offline recipe of Contrastive Gaussian Clustering (arXiv 2404.12784) on 3D Gaussian Splatting's own schedule.

    Published numbers throughout, unless a comment says otherwise (docs/paper_recipe.md). What is published as a number
    of steps of 30,000 is a share of the run here, so that a run can be shorter.
    """

    iterations: int = 30_000
    start_after: float = 2.0  # seconds without a new frame after which training starts; ours
    sh_degree: int = 3  # replaces MapperConfig.sh_degree
    initial_points: int = 20_000  # ours: about what structure from motion gives, drawn from depth instead
    initial_opacity: float = 0.1
    stereo_views: int = 24  # without depth images: views that stereo gives points for; ours
    ssim_weight: float = 0.2
    means_rate: float = 1.6e-4  # of the cameras' extent; falls exponentially to
    final_means_rate: float = 1.6e-6
    quats_rate: float = 1e-3
    scales_rate: float = 5e-3
    opacities_rate: float = 5e-2
    colors_rate: float = 2.5e-3
    harmonics_share: float = 0.05  # of colors_rate: for all bands but the first
    features_rate: float = 2.5e-3
    raise_harmonics: float = 1 / 30  # share of the run after which the next band of harmonics joins
    densify_from: float = 1 / 60  # share of the run
    densify_until: float = 0.5  # share of the run
    densify_every: float = 1 / 300  # share of the run, but at least
    densify_min_steps: int = 50  # ours; the published interval is 100
    screen_gradient: float = 2e-4  # of the loss, in normalised device coordinates, from which a Gaussian grows
    clone_size: float = 0.01  # of the cameras' extent: smaller Gaussians are cloned, larger ones split
    min_opacity: float = 0.005
    max_size: float = 0.1  # of the cameras' extent: larger Gaussians are removed after the first opacity reset
    reset_every: float = 0.1  # share of the run between two opacity resets, but at least
    reset_min_steps: int = 500  # ours; the published interval is 3,000
    reset_opacity: float = 0.01
    contrastive_every: int = 50  # steps
    contrastive_weight: float = 1e-6  # of the sum over a mask's pixels
    min_mask_pixels: int = 100
    spatial_every: int = 100  # steps
    spatial_sample: int = 1000  # Gaussians; ours
    cluster_every: float = 0.2  # share of the run between two clusterings into objects, the last at its end; ours
    cluster_sample: int = 5000  # Gaussians that HDBSCAN looks at; ours
    cluster_share: float = 0.004  # of that sample: least size of an object; ours


@dataclass(frozen=True)
class MapperConfig:
    backend: str = "auto"  # what renders and trains: gsplat on an NVIDIA GPU, cpu anywhere; auto | gsplat | cpu
    seed: int = 0  # of everything random; on the CPU a seeded run repeats
    sh_degree: int = 2  # of the view-dependent colour; 0: none, 0..3
    recipe: str = "default"  # default, or the published method's schedule as an offline baseline; default | paper
    up: tuple[float, float, float] = (0.0, 0.0, 1.0)  # vertical of the map frame (REP-103: z up)
    keyframes: KeyframeConfig = field(default_factory=KeyframeConfig)
    seeding: SeedingConfig = field(default_factory=SeedingConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    density: DensityConfig = field(default_factory=DensityConfig)
    segmentation: SegmentationConfig = field(default_factory=SegmentationConfig)
    paper: PaperConfig = field(default_factory=PaperConfig, metadata={"offline": True})  # no ROS parameters

    def __post_init__(self) -> None:
        if self.recipe not in ("default", "paper"):
            raise ValueError(f"there is no recipe {self.recipe!r}: choose default or paper")
