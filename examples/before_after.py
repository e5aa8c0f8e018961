"""How well a model answers rows with known answers, without and with an adapter, as a table.

python examples/before_after.py nano receipts-test/receipt.jsonl runs/receipts/final
"""

import sys
from collections import defaultdict

import internvl
from internvl.evaluation.pair_questions import read_questions
from internvl.evaluation.verifiers import by_metric, metric_of


def main(model: str, rows: str, adapter: str) -> None:
    questions = read_questions([rows], turns="each").asked
    scores = {}
    with internvl.pipeline(model, adapters={"after": adapter}) as pipe:
        prompts = [q.messages(pipe.engine.processor, max_tiles=None, num_frames=8) for q in questions]
        for column, name in (("before", None), ("after", "after")):
            answers = pipe(prompts, internvl.GenerationConfig(max_new_tokens=512), adapter_name=name)
            scores[column] = defaultdict(list)
            for question, answer in zip(questions, answers, strict=True):
                for group in (metric_of(question), "all"):
                    scores[column][group].append(by_metric(question, answer.text))
    print("| judged by | questions | before | after |\n|---|---|---|---|")
    for group, before in sorted(scores["before"].items(), key=lambda item: len(item[1])):
        after = scores["after"][group]
        means = " | ".join(f"{sum(each) / len(each):.1%}" for each in (before, after))
        print(f"| {group} | {len(before)} | {means} |")


if __name__ == "__main__":
    main(*sys.argv[1:])
