"""What the figures say, in English and in Chinese: titles, axes, and one sentence on how to read each."""

from __future__ import annotations

import re

FIGURES: dict[str, dict[str, tuple[str, str]]] = {
    "en": {
        "leaderboard": (
            "Against the baselines",
            "All predicted the same holdout. The percentage says how far a baseline is from this version.",
        ),
        "predicted_and_true": (
            "Predicted and true",
            "Each hexagon is a handful of holdout cases; the nearer to the line, the better. Darker means more cases.",
        ),
        "residuals": (
            "Errors",
            "How far the truth lay from the prediction. The shaded part holds 90 % of the cases; a peak at 0 is good.",
        ),
        "roc": (
            "ROC curve",
            "The further the curve bends to the upper left, the better the two classes are told apart; the "
            "diagonal is guessing.",
        ),
        "precision_recall": (
            "Precision and recall",
            "Going right, more of the positive cases are found; the height is the share of alarms that are "
            "right. The dashed line is guessing.",
        ),
        "calibration": (
            "Are the chances honest?",
            "Points on the diagonal: what was given a chance of 30 % came true in 30 % of cases; the "
            "bands are 95 %. The bars below count the cases.",
        ),
        "confusion": (
            "Which classes are mixed up",
            "Each row is a true class, split by what was predicted; a dark diagonal is good.",
        ),
        "error_by_decile": (
            "Error along the answer",
            "The cases in ten parts by their answer. Above: points at 0 are unbiased, bars are 95 % bands. "
            "Below: the loss of each part.",
        ),
        "error_by_group": (
            "Error by group",
            "Each group's error with its 95 % band; the line is the error of all. A band wholly beyond the "
            "line is a real difference.",
        ),
        "calibration_by_group": (
            "Are the chances honest for every group?",
            "As above, for each group with enough cases. A band that misses the diagonal is a chance that is off for "
            "this group; one band in twenty does by chance alone.",
        ),
        "coverage_by_group": (
            "Coverage by group",
            "Share of true values inside the answer's interval or set; the line is what was promised. The "
            "band is chance alone.",
        ),
        "events": ("Chances of events", "Points on the diagonal: the event came true as often as its chance said."),
        "importance": (
            "What the version needs",
            "How much the error grows when a field's values are shuffled. The bars are the spread over the shuffles.",
        ),
        "shap": (
            "What moves an answer",
            "Each dot is one case. Right of 0 the field raised the answer; colour shows whether the field's "
            "value was high or low.",
        ),
        "shap_classes": (
            "What moves an answer",
            "How strongly a field moves the scores of the classes, on average over the cases; one colour a class.",
        ),
        "learning_curve": (
            "Would more data help?",
            "A cheap model's error on ever more rows, with its standard error; the dashed line goes on to "
            "twice the rows.",
        ),
        "search": (
            "The search",
            "Each mark is one trial, on rows it did not learn from; the line is the best so far. Lower is better.",
        ),
        "weights": ("The ensemble", "The share that each chosen model has in an answer."),
    },
    "zh": {
        "leaderboard": ("与基线比较", "各模型预测同一留出集；百分数为该基线与本版本的差距。"),
        "predicted_and_true": ("预测值与真实值", "每个六边形代表若干留出病例；越靠近直线越好，颜色越深病例越多。"),
        "residuals": ("误差分布", "真实值与预测值之差。阴影包含 90 % 的病例；峰值位于 0 为佳。"),
        "roc": ("ROC 曲线", "曲线越偏向左上角，两类区分得越好；对角线相当于随机猜测。"),
        "precision_recall": (
            "精确率与召回率",
            "越往右，找出的阳性病例越多；高度是报警中正确的比例。虚线相当于随机猜测。",
        ),
        "calibration": (
            "概率可信吗？",
            "点落在对角线上：给出 30 % 概率的病例中确有 30 % 发生；线段为 95 % 区间。下方柱形为病例数。",
        ),
        "confusion": ("哪些类别被混淆", "每行是一个真实类别，按预测类别拆分；对角线越深越好。"),
        "error_by_decile": (
            "误差随预测值的变化",
            "按预测值把病例分成十份。上：点在 0 处为无偏，线段为 95 % 区间。下：每份的损失。",
        ),
        "error_by_group": (
            "各分组的误差",
            "各组误差及其 95 % 区间；竖线为全体误差。区间完全落在竖线一侧才是真实差异。",
        ),
        "calibration_by_group": (
            "对每个分组，概率可信吗？",
            "同上，逐个画出病例足够多的分组。区间不碰对角线，说明对该组的概率有偏差；每二十个区间约有一个会偶然如此。",
        ),
        "coverage_by_group": ("各分组的覆盖率", "真实值落在区间或集合内的比例；竖线为承诺的水平，线段为纯随机波动。"),
        "events": ("事件的概率", "点落在对角线上：事件发生的频率与给出的概率一致。"),
        "importance": ("模型依赖哪些字段", "打乱某字段的取值后误差增加多少。线段为多次打乱之间的波动。"),
        "shap": ("什么推动答案", "每个点是一个病例。在 0 右侧，该字段使答案升高；颜色表示字段取值的高低。"),
        "shap_classes": ("什么推动答案", "某字段平均在多大程度上推动各类别的得分；每种颜色代表一个类别。"),
        "learning_curve": (
            "更多数据有帮助吗？",
            "一个简单模型在越来越多的数据上的误差及其标准误；虚线延伸到两倍数据量。",
        ),
        "search": ("搜索过程", "每个标记是一次试验，损失在其未学习的行上计算；折线为当前最佳。越低越好。"),
        "weights": ("集成模型", "每个入选模型在答案中所占的份额。"),
    },
}
"""By language and figure: its title, and how to read it."""

LABELS = {
    "en": {
        "this": "this version",
        "predicted": "predicted",
        "true": "true",
        "error": "true − predicted",
        "cases": "cases",
        "false_alarms": "share of negatives called positive",
        "found": "share of positives found",
        "precision": "share of alarms that are right",
        "guessing": "guessing",
        "chance": "chance given",
        "came_true": "share that came true",
        "confidence": "chance of the predicted class",
        "right": "share predicted right",
        "observed_less": "true − predicted",
        "loss": "loss",
        "inside": "share inside",
        "rise": "rise of {} when shuffled",
        "fall": "fall of {} when shuffled",
        "adds": "adds to the answer ({})",
        "adds_log": "adds to the answer (logarithm)",
        "adds_odds": "adds to the answer (log-odds)",
        "adds_score": "mean size of the effect on the classes' scores",
        "low": "low",
        "high": "high",
        "value": "value of the field",
        "rows": "rows learnt from",
        "twice": "twice the rows",
        "seconds": "seconds of search",
        "best": "best so far",
        "out_of_fold": "out-of-fold",
        "share": "share of the answer",
        "portfolio": "portfolio",
        "explained": "explains {} of the ensemble",
        "true_class": "true class",
        "predicted_class": "predicted class",
        "other": "other",
        "mean_error": "mean {:.{}f}",
    },
    "zh": {
        "this": "本版本",
        "predicted": "预测值",
        "true": "真实值",
        "error": "真实值 − 预测值",
        "cases": "病例数",
        "false_alarms": "阴性被误报的比例",
        "found": "阳性被找出的比例",
        "precision": "报警中正确的比例",
        "guessing": "随机猜测",
        "chance": "给出的概率",
        "came_true": "实际发生的比例",
        "confidence": "预测类别的概率",
        "right": "预测正确的比例",
        "observed_less": "真实 − 预测",
        "loss": "损失",
        "inside": "落在其中的比例",
        "rise": "打乱后 {} 的增加",
        "fall": "打乱后 {} 的下降",
        "adds": "对答案的贡献（{}）",
        "adds_log": "对答案的贡献（对数尺度）",
        "adds_odds": "对答案的贡献（对数优势）",
        "adds_score": "对各类别得分影响的平均大小",
        "low": "低",
        "high": "高",
        "value": "字段取值",
        "rows": "学习所用行数",
        "twice": "两倍数据量",
        "seconds": "搜索用时（秒）",
        "best": "当前最佳",
        "out_of_fold": "折外",
        "share": "在答案中的份额",
        "portfolio": "预设组合",
        "explained": "解释了集成权重的 {}",
        "true_class": "真实类别",
        "predicted_class": "预测类别",
        "other": "其他",
        "mean_error": "平均 {:.{}f}",
    },
}
"""By language: axes and legends."""

METRICS = {
    "en": {
        "rmse": "RMSE", "mae": "MAE", "r2": "R²", "bias": "bias", "auc": "AUC", "log_loss": "log loss",
        "brier": "Brier score", "accuracy": "accuracy", "f1": "F1", "average_precision": "average precision",
        "calibration_slope": "calibration slope", "calibration_intercept": "calibration intercept",
        "ece": "calibration error", "ece_by_chance": "by chance alone", "brier_reliability": "reliability",
        "brier_resolution": "resolution", "brier_uncertainty": "uncertainty",
        "base_rate": "share positive", "mean_chance": "mean chance",
        "balanced_accuracy": "balanced accuracy", "macro_f1": "macro F1", "coverage": "coverage",
        "mean_width": "interval width", "set_coverage": "set coverage", "mean_set_size": "classes in the set",
        "winkler": "Winkler score", "promise_kept": "promises kept", "promise_days": "mean days promised", "n": "n",
    },
    "zh": {
        "rmse": "RMSE", "mae": "MAE", "r2": "R²", "bias": "偏差", "auc": "AUC", "log_loss": "对数损失",
        "brier": "Brier 分数", "accuracy": "准确率", "f1": "F1", "average_precision": "平均精确率",
        "calibration_slope": "校准斜率", "calibration_intercept": "校准截距",
        "ece": "校准误差", "ece_by_chance": "仅因偶然", "brier_reliability": "可靠性",
        "brier_resolution": "分辨度", "brier_uncertainty": "不确定性", "base_rate": "阳性比例",
        "mean_chance": "平均概率",
        "balanced_accuracy": "平衡准确率", "macro_f1": "宏平均 F1", "coverage": "覆盖率",
        "mean_width": "区间宽度", "set_coverage": "集合覆盖率", "mean_set_size": "集合中的类别数",
        "winkler": "Winkler 分数", "promise_kept": "承诺兑现率", "promise_days": "平均承诺天数", "n": "n",
    },
}  # fmt: skip
"""By language: the measures' names."""

BASELINES = {
    "en": {
        "gancao": "this version", "mean": "the mean", "prior": "the class shares", "linear": "the linear model",
        "lightgbm_defaults": "LightGBM's defaults",
    },
    "zh": {
        "gancao": "本版本", "mean": "均值", "prior": "类别比例", "linear": "线性模型",
        "lightgbm_defaults": "LightGBM 默认",
    },
}  # fmt: skip
"""By language: what stands in a leaderboard; other names (`median_by_week`, `champion-3`) stand for themselves."""


_GAP = re.compile(r"(?<=[\u3000-\u9fff（）：；，。“”]) (?=[\u3000-\u9fff（）：；，。“”])")


def closed_up(words: str) -> str:
    """Chinese without spaces between its signs, where a template put one beside a name that might be Latin."""
    return _GAP.sub("", words)


def rival(name: str, lang: str) -> str:
    """A row of the leaderboard as people read it."""
    known = BASELINES[lang].get(name)
    if known is not None:
        return known
    if name.startswith("champion-"):
        number = name.removeprefix("champion-")
        return f"冠军版本 {number}" if lang == "zh" else f"the champion (version {number})"
    return name.replace("_", " ")
