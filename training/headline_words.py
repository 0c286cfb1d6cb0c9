"""The sentences of the headline, in English and in Chinese."""

from __future__ import annotations

HEADLINES = {
    "en": {
        "good?": "Is it good?",
        "compared?": "Compared to what?",
        "sure?": "How sure are its answers?",
        "data?": "Would more data help?",
        "drives?": "What drives it?",
        "weaker?": "For whom is it weaker?",
        "good_regression": (
            "A prediction is typically {mae} off. Its {metric} is {ours} (95 % band {low} to {high}), and it "
            "explains {r2} of the differences between cases."
        ),
        "good_binary": (
            "Of two cases, one “{positive}” and one not, it gives the right one the higher chance {auc} of the "
            "time (AUC). Its {metric} is {ours} (95 % band {low} to {high})."
        ),
        "good_multiclass": (
            "Its first choice is right in {accuracy} of cases; always saying the commonest class would be right "
            "in {common}. Its {metric} is {ours} (95 % band {low} to {high})."
        ),
        "compared": "Against {rival}, the best of the baselines, its {metric} is {share} {direction}{chance}.",
        "lower": "lower",
        "higher": "higher",
        "better than": ", more than chance explains",
        "not told apart from": ", which chance alone may explain",
        "worse than": ", and worse beyond chance",
        "none_compared": "No baseline was measured.",
        "sure_regression": (
            "The {level} interval held the truth in {coverage} of {n} holdout cases and is {width} wide on average."
        ),
        "sure_binary": (
            "Chances are off by {ece} on average over {n} holdout cases (honest ones: {noise}); the mean "
            "chance is {mean_chance} where {base_rate} came true. The {level} set of classes held the truth in "
            "{coverage}."
        ),
        "sure_multiclass": (
            "The {level} set of classes held the truth in {coverage} of {n} holdout cases, with {size} classes "
            "on average. Chances are off by {ece} on average (honest ones: {noise})."
        ),
        "data_clear": (
            "Yes: twice the rows would lower {metric} by about {gain}, by the learning curve of a simple model."
        ),
        "data_little": (
            "A little: twice the rows would lower {metric} by about {gain}, by the learning curve of a simple model."
        ),
        "data_unclear": (
            "A little, if at all: twice the rows promise about {gain} less {metric}, and the last doubling "
            "brought no more than chance explains."
        ),
        "data_no": (
            "Hardly: the learning curve of a simple model is flat (about {gain} less {metric} with twice the rows)."
        ),
        "data_unknown": "Not measured in this run.",
        "drives": (
            "Most of all {first}{more}. With the values of the first shuffled, {metric} would be {rise} {direction}."
        ),
        "drives_more": ", then {fields}",
        "drives_unknown": "Not measured in this run.",
        "drives_nothing": "No single field: shuffling any one of them makes no difference beyond chance.",
        "weaker": "For {groups} (all cases: {all}).",
        "weaker_one": "{group} ({metric} {value})",
        "weaker_none": "For no declared group is it worse than for all cases, beyond chance.",
        "weaker_undeclared": "The Task declares no groups, so this was not looked at.",
        "weaker_covered": " The {level} promise falls short for {groups}.",
        "covered_one": "{group} ({coverage})",
    },
    "zh": {
        "good?": "好不好？",
        "compared?": "与什么相比？",
        "sure?": "答案有多可靠？",
        "data?": "更多数据有帮助吗？",
        "drives?": "由什么决定？",
        "weaker?": "对哪些人较弱？",
        "good_regression": (
            "预测通常偏差 {mae}；{metric} 为 {ours}（95 % 区间 {low} 至 {high}），解释了病例间差异的 {r2}。"
        ),
        "good_binary": (
            "任取一例“{positive}”与一例非“{positive}”，它有 {auc} 的机会给前者更高的概率（AUC）。{metric} 为 "
            "{ours}（95 % 区间 {low} 至 {high}）。"
        ),
        "good_multiclass": (
            "首选类别在 {accuracy} 的病例中正确；总猜最常见的类别只有 {common} 正确。{metric} 为 {ours}（95 % "
            "区间 {low} 至 {high}）。"
        ),
        "compared": "与最好的基线“{rival}”相比，{metric} {direction} {share}{chance}。",
        "lower": "低",
        "higher": "高",
        "better than": "，超出偶然波动",
        "not told apart from": "，可能只是偶然",
        "worse than": "，且差得超出偶然波动",
        "none_compared": "没有测量任何基线。",
        "sure_regression": "{level} 区间在 {n} 个留出病例中有 {coverage} 包含真实值，平均宽度 {width}。",
        "sure_binary": (
            "在 {n} 个留出病例上，概率平均偏差 {ece}（可信的概率：{noise}）；平均概率 {mean_chance}，"
            "实际发生 {base_rate}。{level} 的类别集合有 {coverage} 包含真实类别。"
        ),
        "sure_multiclass": (
            "{level} 的类别集合在 {n} 个留出病例中有 {coverage} 包含真实类别，平均含 {size} 个类别。概率平均偏"
            "差 {ece}（可信的概率：{noise}）。"
        ),
        "data_clear": "有：按简单模型的学习曲线，数据量翻倍可使 {metric} 降低约 {gain}。",
        "data_little": "略有：按简单模型的学习曲线，数据量翻倍可使 {metric} 降低约 {gain}。",
        "data_unclear": "即使有也很小：数据量翻倍预计使 {metric} 降低约 {gain}，而最近一次翻倍的改进未超出偶然波动。",
        "data_no": "几乎没有：简单模型的学习曲线已趋平（数据量翻倍 {metric} 约降低 {gain}）。",
        "data_unknown": "本次未测量。",
        "drives": "首先是{first}{more}。若打乱首位字段的取值，{metric} 会{direction} {rise}。",
        "drives_more": "，其次是{fields}",
        "drives_unknown": "本次未测量。",
        "drives_nothing": "没有单独起决定作用的字段：打乱任一字段都没有超出偶然的影响。",
        "weaker": "{groups}（全体：{all}）。",
        "weaker_one": "{group}（{metric} {value}）",
        "weaker_none": "没有任何分组比全体差得超出偶然波动。",
        "weaker_undeclared": "任务没有声明分组，因此未作考察。",
        "weaker_covered": " 以下分组达不到 {level} 的承诺：{groups}。",
        "covered_one": "{group}（{coverage}）",
    },
}
"""By language: questions (`good?`), answers by kind and outcome, and their parts."""
