//! Knobs that several methods share. Each is documented once, here.

use crate::{
    Error,
    check::{at_least, positive},
    data::data,
};

data! {
    /// How far two predictive distributions lie apart.
    pub struct Divergence {
        /// The distance. Source: section 3 of the paper; KL in all its tables but one.
        pub distance: Distance = Distance::Kl,
        /// Which argument of the KL is the reference. Only for `distance: kl`. Source: equations
        /// 3 to 6 of the paper measure KL(target || current); the appendix compares the others.
        pub kl_direction: KlDirection = KlDirection::Forward,
        /// What a sum over everything is divided by. Source: the paper takes an expectation over
        /// the input, which is `per_distribution`; its code divides by every logit element and
        /// by the batch size again, which is `published`.
        pub reduction: Reduction = Reduction::PerDistribution,
        /// Multiplies the distance; >= 0. Source: absent from the paper; its code has such a
        /// factor for language models, whose value is not published.
        pub distance_scale: f64 = 1.0,
        /// What MMD and L2 act on; a KL always acts on distributions. Source: the paper's code
        /// hands them raw logits.
        pub distance_input: DistanceInput = DistanceInput::Logits,
        /// Kernel of the MMD. Source: the paper names the family, its code has these four.
        pub mmd_kernel: MmdKernel = MmdKernel::Imq2,
        /// Bandwidths the kernel is summed over; each > 0. Source: the paper's code.
        pub mmd_bandwidths: Vec<f64> = vec![0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0],
        /// Both softmaxes act on logits divided by this, and the distance is multiplied by its
        /// square; > 0, only for `distance: kl`. Source: absent from the paper; MESA's authors
        /// use 5.
        pub temperature: f64 = 1.0,
    }
}

impl Divergence {
    pub(crate) fn check(&self) -> Result<(), Error> {
        at_least("distance_scale", self.distance_scale, 0.0)?;
        positive("temperature", self.temperature)?;
        self.mmd_bandwidths
            .iter()
            .try_for_each(|&c| positive("mmd_bandwidths", c))?;
        if self.distance == Distance::Mmd && self.mmd_bandwidths.is_empty() {
            return Err(Error::knob("mmd_bandwidths", "is empty"));
        }
        if self.distance != Distance::Kl && self.temperature != 1.0 {
            return Err(Error::knob("temperature", "belongs to `distance: kl`"));
        }
        Ok(())
    }
}

data! {
    /// A distance between rows of logits.
    pub enum Distance {
        /// Kullback-Leibler divergence, in nats.
        #[default]
        Kl,
        /// Squared maximum mean discrepancy between the two batches of rows; logits `[rows,
        /// classes]` only.
        Mmd,
        /// 2-norm of the difference of two rows, mean over rows.
        L2,
    }
}

data! {
    /// Order of the arguments of a KL.
    pub enum KlDirection {
        /// KL(target || current).
        #[default]
        Forward,
        /// KL(current || target).
        Reverse,
        /// The sum of both, without a factor of one half.
        Symmetric,
    }
}

data! {
    /// Divisor of a distance summed over everything. B examples, T positions, C classes.
    pub enum Reduction {
        /// The number of predictive distributions: B, or B T.
        #[default]
        PerDistribution,
        /// B.
        PerExample,
        /// B T C: every logit element.
        PerElement,
        /// B T C and B once more, as in the paper's code; for MMD and L2, B after their own mean.
        Published,
    }
}

data! {
    /// What MMD and L2 compare.
    pub enum DistanceInput {
        /// Raw logits.
        #[default]
        Logits,
        /// Their softmax.
        Probs,
    }
}

data! {
    /// A kernel k(s) of the squared distance s with bandwidth c.
    pub enum MmdKernel {
        /// c / (c + s).
        Imq,
        /// 1 / sqrt(c^2 + s).
        #[default]
        Imq2,
        /// c^2 / (c^2 + s).
        Imq3,
        /// exp(-s / (2 c)).
        Rbf,
    }
}

data! {
    /// Noise on the input of the network, drawn anew for every update.
    pub struct InputNoise {
        /// Scale of the noise, in units of the embedding (or of the normalised pixel); >= 0.
        /// Source: 0.1 in the paper's settings; the authors of R3F use 1e-5.
        pub sigma: f64 = 0.1,
        /// Its distribution. Source: the paper writes a normal; its code offers both.
        pub noise_kind: NoiseKind = NoiseKind::Normal,
        /// Where an image network takes the noise; word embeddings in every text network.
        /// Source: not stated in the paper, whose code has no vision part.
        pub vit_noise_at: VitNoiseAt = VitNoiseAt::Pixels,
    }
}

impl InputNoise {
    pub(crate) fn check(&self) -> Result<(), Error> {
        at_least("sigma", self.sigma, 0.0)
    }
}

data! {
    /// Distribution of the noise before `sigma` scales it.
    pub enum NoiseKind {
        /// Standard normal.
        #[default]
        Normal,
        /// Uniform on [-1, 1).
        Uniform,
    }
}

data! {
    /// Where a vision transformer takes input noise.
    pub enum VitNoiseAt {
        /// The normalised pixels.
        #[default]
        Pixels,
        /// The patch projection's output, before class token and positions.
        PatchEmbeddings,
    }
}

data! {
    /// How a gradient becomes an adaptive step of given length (ASAM).
    pub struct Adaptive {
        /// Added to |theta|, so that a weight of zero can move; >= 0. Source: 0 by equation 2 of
        /// the paper; ASAM's authors use 0.01.
        pub asam_eta: f64 = 0.0,
        /// Parameters that are scaled by their size. Source: all by equation 2 of the paper and
        /// in its code; ASAM's authors scale those named "weight".
        pub asam_scope: AsamScope = AsamScope::All,
        /// Paper's direction, or the one of its released code, which lacks the gradient.
        pub perturbation: Perturbation = Perturbation::Paper,
        /// Added to the norm that divides; >= 0. Source: absent from the paper; 1e-12 in its code.
        pub norm_eps: f64 = 1e-12,
        /// Which parameters return from the perturbed point.
        pub restore: Restore = Restore::All,
    }
}

impl Adaptive {
    pub(crate) fn check(&self) -> Result<(), Error> {
        at_least("asam_eta", self.asam_eta, 0.0)?;
        at_least("norm_eps", self.norm_eps, 0.0)
    }
}

data! {
    /// Parameters that an adaptive step scales by their size.
    pub enum AsamScope {
        /// Every parameter.
        #[default]
        All,
        /// Those whose name contains "weight"; the others get a plain SAM share.
        WeightsOnly,
    }
}

data! {
    /// Direction of the ascent step.
    pub enum Perturbation {
        /// Along the (scaled) gradient, as the paper's equations say.
        #[default]
        Paper,
        /// As the paper's released code computes it: the gradient appears in the norm only, so
        /// every coordinate moves by a non-negative amount.
        Published,
    }
}

data! {
    /// Which parameters return to the saved copy after the second pass.
    pub enum Restore {
        /// All, as the paper's algorithm says.
        #[default]
        All,
        /// Those that got a gradient in the second pass, as the released code does; the others
        /// keep theta + eps.
        GradedOnly,
    }
}

data! {
    /// Mode of the network that makes the target distribution.
    pub enum TargetMode {
        /// As in the released code: stored models in evaluation mode, the noised pass in
        /// training mode.
        #[default]
        Released,
        /// Evaluation mode: no dropout.
        Eval,
        /// Training mode, with dropout masks of its own.
        Train,
    }
}

data! {
    /// When theta_{t-1} is copied.
    pub enum PrevSnapshot {
        /// Before the base update: theta_{t-1} is the iterate before the current one.
        #[default]
        BeforeUpdate,
        /// After it, as the released code does: the target is then the current model itself, and
        /// the distance is 0 but for dropout.
        AfterUpdate,
    }
}

data! {
    /// What the second pass of TRAM-x sees.
    pub enum SecondPassInput {
        /// The clean input, as the paper's algorithm says.
        #[default]
        Clean,
        /// The noised embeddings of the distance's forward pass, cut from their table, as the
        /// released code's shared batch makes it.
        Noised,
    }
}

data! {
    /// Diagonal Fisher information and its inverse.
    pub struct Fisher {
        /// Radius of the ascent step; >= 0. Source: 0.1 in the paper's settings.
        pub gamma: f64 = 0.1,
        /// Weight of the Fisher diagonal in the inverse; >= 0. Source: 0.1 in the paper's settings.
        pub eta: f64 = 0.1,
        /// What is squared. Source: the paper's equation lacks a gradient operator; Fisher SAM
        /// uses the batch gradient.
        pub fisher_estimator: FisherEstimator = FisherEstimator::BatchGradient,
        /// How the diagonal is inverted. Source: the paper writes a plain inverse; ports of
        /// Fisher SAM regularise it as here.
        pub fisher_inverse: FisherInverse = FisherInverse::OnePlusEtaF,
        /// Added to the diagonal by `fisher_inverse: damped_literal`; > 0. Source: ours.
        pub fisher_damping: f64 = 1e-8,
        /// Added to the root that divides; >= 0. Source: absent from the paper; 1e-12 in its code.
        pub norm_eps: f64 = 1e-12,
        /// Which parameters return from the perturbed point.
        pub restore: Restore = Restore::All,
    }
}

impl Fisher {
    pub(crate) fn check(&self) -> Result<(), Error> {
        at_least("gamma", self.gamma, 0.0)?;
        at_least("eta", self.eta, 0.0)?;
        positive("fisher_damping", self.fisher_damping)?;
        at_least("norm_eps", self.norm_eps, 0.0)
    }
}

data! {
    /// Estimate of the diagonal Fisher information.
    pub enum FisherEstimator {
        /// Square of the batch's mean gradient: no further pass.
        #[default]
        BatchGradient,
        /// Mean over examples of the squared gradient of one: a pass per example.
        PerExample,
    }
}

data! {
    /// Inverse of the diagonal Fisher information f.
    pub enum FisherInverse {
        /// 1 / (1 + eta f).
        #[default]
        OnePlusEtaF,
        /// 1 / (f + fisher_damping).
        DampedLiteral,
    }
}
