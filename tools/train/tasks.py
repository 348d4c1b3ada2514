"""Problems with their worked solutions, without end and without a file: what r1-nano learns from and is examined with.

A problem is (task, prompt, thought, answer). Thoughts are written so that every token follows from a few earlier ones
by copying or by a small table: operands are restated, columns come lowest first, a carry stands beside its digit.

Train and test never share a problem: each has a key (operands, words, list) and a phrasing, and a hash of either
decides its side. `stream("train", seed)` yields problems held out by neither; `stream("test", seed)` yields problems
whose key is held out, half of them in a phrasing that is held out too. Same seed, same problems, on any machine."""

import hashlib
import random

from columns import counted, duel, marked, sign_of, work
from stories import logic, story
from talk import OUT_OF_SCOPE, TALK, UNKNOWN
from words import ITEMS, ITEMS_ZH, SYLLABLES, WORDS

HELD_OUT = 12  # one in so many problems and phrasings never reaches training


def held_out(text):
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=4).digest(), "little") % HELD_OUT == 0


def number(r, most):
    """As many one-digit numbers as long ones: lengths evenly, then digits."""
    n = r.randint(1, most)
    return r.randint(0 if n == 1 else 10 ** (n - 1), 10**n - 1)


# ---------------------------------------------------------------- phrasings

POLITE = ["", "", "", "", "Please: ", "Hi! ", "Hello, ", "Quick question: ", "Hey, ", "Tell me, ", "Question: ", "Think carefully. "]
POLITE_ZH = ["", "", "", "请问", "你好，", "请算一下，", "请告诉我，", "问题：", "想一想，"]
END = ["", "", "", " ", " Thanks.", " Think step by step."]
END_ZH = ["", "", "", "谢谢。", "请一步一步想。"]

SYMBOL = {"+": ["+", " + ", "+", " + ", " plus ", "＋"], "-": ["-", " - ", "-", " - ", " minus ", "−"],
          "*": ["*", " * ", "×", " x ", " times ", " × "], "/": ["/", " / ", "÷", " ÷ ", " divided by "]}  # fmt: skip
SYMBOL_ZH = {"+": ["加", "加上", "+", " + "], "-": ["减", "减去", "-", " - "],
             "*": ["乘", "乘以", "×", "*"], "/": ["除以", "÷", "/"]}  # fmt: skip
ASK = ["{e}", "{e}", "{e}=", "{e} =", "{e}=?", "{e}?", "{e} = ?", "What is {e}?", "what is {e}", "What's {e}?", "what's {e}?", "Calculate {e}.",
       "Compute {e}", "compute {e}.", "How much is {e}?", "how much is {e}", "Work out {e}.", "Solve {e}", "Can you compute {e}?", "Give me {e}.",
       "{e} is?", "{e} equals?", "What does {e} equal?", "what do you get for {e}?", "I need {e}.", "Find {e}."]  # fmt: skip
ASK_ZH = ["{e}等于多少？", "{e}等于多少", "{e}等于几？", "{e}是多少？", "{e}是多少", "{e}=?", "{e}＝？", "计算{e}", "计算{e}。", "算一下{e}。", "{e}的结果是多少？",
          "{e}得多少？", "求{e}。", "帮我算{e}。"]  # fmt: skip
SPOKEN = {
    "+": ["Add {a} and {b}.", "add {a} and {b}", "Add {a} to {b}", "What is the sum of {a} and {b}?", "Sum of {a} and {b}?", "the sum of {a} and {b}"],
    "-": ["Subtract {b} from {a}.", "subtract {b} from {a}", "What is the difference of {a} and {b}?", "Take {b} away from {a}."],
    "*": ["Multiply {a} by {b}.", "multiply {a} and {b}", "What is the product of {a} and {b}?", "product of {a} and {b}"],
    "/": ["Divide {a} by {b}.", "divide {a} by {b}", "How many times does {b} go into {a}?"],
}
SPOKEN_ZH = {"+": ["{a}与{b}的和是多少？", "{a}和{b}相加得多少？"], "-": ["{a}与{b}的差是多少？", "从{a}里减去{b}得多少？"],
             "*": ["{a}与{b}的积是多少？", "{a}和{b}相乘得多少？"], "/": ["{a}除以{b}的商和余数是多少？"]}  # fmt: skip


class Phrasing:
    """Picks forms and remembers which, so that a phrasing as a whole can be held out."""

    def __init__(self, r):
        self.r, self.picked = r, []

    def pick(self, forms):
        i = self.r.randrange(len(forms))
        self.picked.append(f"{forms[i]}")
        return forms[i]

    def wrap(self, text, zh):
        if self.r.random() < 0.5:
            return text
        return self.pick(POLITE_ZH if zh else POLITE) + text + self.pick(END_ZH if zh else END)


def arithmetic(r, op):
    if op in "+-":
        a, b = number(r, 4), number(r, 4)
        if op == "-" and a < b and r.random() < 0.6:
            a, b = b, a
    elif op == "*":
        a, b = number(r, 3), r.randint(0 if r.random() < 0.1 else 2, 9)
    else:
        a, b = number(r, 3), r.randint(2, 9)
    p, zh = Phrasing(r), r.random() < 0.3
    x, y = (b, a) if op == "*" and r.random() < 0.4 else (a, b)
    if r.random() < 0.25:
        prompt = p.pick((SPOKEN_ZH if zh else SPOKEN)[op]).format(a=x, b=y)
    else:
        e = f"{x}{p.pick((SYMBOL_ZH if zh else SYMBOL)[op])}{y}"
        prompt = p.pick(ASK_ZH if zh else ASK).format(e=e)
    lines, value = work(op, x, y) if op == "*" and a < 10 else work(op, a, b)
    if op == "/":
        q, rest = value
        answer = f"{q}" if rest == 0 else f"{q}余{rest}" if zh else f"{q} remainder {rest}"
        lines = [lines[0] + "余" * zh] + lines[1:] + [answer]
    else:
        answer = f"{value}"
    name = {"+": "add", "-": "subtract", "*": "multiply", "/": "divide"}[op]
    return name, p.wrap(prompt, zh), lines, answer, f"{a}{op}{b}", p


def compare(r):
    a = number(r, 4)
    kind = r.random()
    b = number(r, 4) if kind < 0.4 else a if kind < 0.46 else None
    if b is None:  # the same length, often the same first digits
        digits = list(str(a))
        keep = r.randrange(len(digits)) if len(digits) > 1 else 0
        digits[keep:] = [r.choice("0123456789") for _ in digits[keep:]]
        if digits[0] == "0" and len(digits) > 1:
            digits[0] = r.choice("123456789")
        b = int("".join(digits))
    p, zh = Phrasing(r), r.random() < 0.3
    more = r.random() < 0.5
    head = ("大" if more else "小") if zh else "max" if more else "min"
    fight, winner = duel(*marked([a, b]), more)
    if r.random() < 0.5:
        if zh:
            form = p.pick(["{a}和{b}哪个更{w}？", "{a}与{b}，哪个数{w}？", "哪个更{w}：{a}还是{b}？", "{a}和{b}谁{w}？", "{a}和{b}，哪一个{w}？", "比较{a}和{b}，哪个{w}？"])
            prompt = form.format(a=a, b=b, w=head)
            answer = "一样大" if a == b else winner[1:]
        else:
            form = p.pick(["Which is {w}, {a} or {b}?", "which is {w}: {a} or {b}", "Which number is {w}, {a} or {b}?", "{a} or {b}, which is {w}?",
                           "Compare {a} and {b}. Which is {w}?", "Of {a} and {b}, which is {w}?", "What is {w}, {a} or {b}?", "Which one is {w}: {a} or {b}?",
                           "{a} and {b}: which is {w}?", "Which of {a} and {b} is {w}?", "what's {w}, {a} or {b}?", "Tell me which is {w}, {a} or {b}."])  # fmt: skip
            w = p.pick(["larger", "bigger", "greater", "more", "higher"] if more else ["smaller", "less", "lower", "fewer"])
            prompt = form.format(a=a, b=b, w=w)
            answer = "They are equal" if a == b else winner[1:]
        lines = [head, fight, answer if a == b else winner]
    else:
        truth, asked = a > b if more else a < b, ">" if more else "<"
        if zh:
            form = p.pick(["{a}比{b}{w}吗？", "{a}是不是比{b}{w}？", "{a}{s}{b}对吗？", "{a}比{b}{w}对吗？", "{a}大于{b}吗？" if more else "{a}小于{b}吗？", "{a}{s}{b}吗？"])
            prompt = form.format(a=a, b=b, w="大" if more else "小", s=asked)
            answer = "是" if truth else "不是"
        else:
            form = p.pick(["Is {a} {w} than {b}?", "is {a} {w} than {b}", "Is {a}{s}{b}?", "{a} {s} {b}, true?", "Is it true that {a} is {w} than {b}?", "{a} {s} {b}?",
                           "Is the number {a} {w} than {b}?", "is {a} {s} {b}", "True or not: {a} is {w} than {b}?", "Would you say {a} is {w} than {b}?"])  # fmt: skip
            w = p.pick(["larger", "bigger", "greater", "more", "higher"] if more else ["smaller", "less", "lower"])
            prompt = form.format(a=a, b=b, w=w, s=asked)
            answer = "yes" if truth else "no"
        lines = [f"{asked}{'吗' if zh else '?'}", fight[: fight.rindex(" ")], f"{asked}{sign_of(a, b)}:{answer}"]
    return "compare", p.wrap(prompt, zh), lines, answer, f"{a}?{b}", p


def listed(r, p, values, zh):
    values = [str(v) for v in values]
    return p.pick(["、", "，", " ", ", "] if zh else [", ", ", ", " ", ",", "; "]).join(values)


def extreme(r):
    n = r.randint(3, 4)
    values = []
    while len(values) < n:
        v = number(r, 3)
        if v not in values:
            values.append(v)
    p, zh, largest = Phrasing(r), r.random() < 0.3, r.random() < 0.5
    lines, best = [" ".join(marked(values))], marked(values)[0]
    for v in marked(values)[1:]:
        fight, best = duel(best, v, largest)
        lines.append(fight)
    lines.append(best)
    if zh:
        form = p.pick(["{l}中最{w}的数是哪个？", "{l}里面哪个最{w}？", "找出最{w}的数：{l}", "最{w}的是哪个：{l}？"])
        prompt = form.format(l=listed(r, p, values, zh), w="大" if largest else "小")
    else:
        form = p.pick(["What is the {w} of {l}?", "Which is the {w}: {l}?", "Find the {w} of {l}.", "{w} of {l}?", "Which of these is the {w}? {l}", "{s}({l})",
                       "Give me the {w} number: {l}"])  # fmt: skip
        w = p.pick(["largest", "biggest", "maximum", "greatest"] if largest else ["smallest", "minimum", "least"])
        prompt = form.format(l=listed(r, p, values, zh), w=w, s="max" if largest else "min")
    head = "max" if largest else "min"
    return "max_min", p.wrap(prompt, zh), [head] + lines, best[1:], f"{values}", p


def sort(r):
    n = r.choice([3, 3, 4])
    values = []
    while len(values) < n:
        v = number(r, 2)
        if v not in values:
            values.append(v)
    p, zh, up = Phrasing(r), r.random() < 0.3, r.random() < 0.65
    rest = marked(f"{v:02d}" for v in values)
    lines, done = ["min" if up else "max", " ".join(rest)], []
    while rest:
        best = rest[0]
        for other in rest[1:]:
            fight, best = duel(best, other, not up)
            lines.append(fight)
        rest.remove(best)
        done.append(int(best[1:]))
        lines.append(f"{best}:" + "".join(f" {x}" for x in rest))
    if zh:
        form = p.pick(["把{l}从{w}排列。", "将{l}从{w}排序", "请把这些数从{w}排好：{l}", "从{w}排序：{l}"])
        prompt = form.format(l=listed(r, p, values, zh), w="小到大" if up else "大到小")
    elif up:
        form = p.pick(["Sort {l}.", "sort {l}", "Sort these numbers: {l}", "Sort {l} in ascending order.", "Order {l} from smallest to largest.", "Arrange {l} from small to large.",
                       "Put {l} in order.", "sort: {l}"])  # fmt: skip
        prompt = form.format(l=listed(r, p, values, zh))
    else:
        form = p.pick(["Sort {l} in descending order.", "Order {l} from largest to smallest.", "Sort from large to small: {l}", "sort {l} descending"])
        prompt = form.format(l=listed(r, p, values, zh))
    return "sort", p.wrap(prompt, zh), lines, ", ".join(map(str, done)), f"{values}", p


def pieces(prompt, word):
    """How the vocabulary cuts the word in this prompt; train.py puts its tokenizer here. The vocabulary itself is made
    without it."""
    return [f" {word}"]


def letters(r):
    word = r.choice(WORDS) if r.random() < 0.5 else "".join(r.choice(SYLLABLES) for _ in range(r.randint(1, 3)))[:8]
    letter = r.choice(word) if r.random() < 0.85 else r.choice("abcdefghijklmnopqrstuvwxyz")
    p, zh = Phrasing(r), r.random() < 0.3
    if zh:
        form = p.pick(["{w}里有几个{c}？", "单词{w}中有几个{c}？", "{w}里面字母{c}出现几次？", "{w}有多少个{c}？"])
    else:
        form = p.pick(["How many {c} are in {w}?", "How many {c}'s are in {w}?", "how many {c} in {w}", "How many times does {c} occur in {w}?", "Count the {c} in {w}.",
                       "How many letters {c} are there in the word {w}?", "how many {c}s in {w}?", 'How many "{c}" are in "{w}"?'])  # fmt: skip
    prompt = p.wrap(form.format(c=letter, w=word), zh)
    spelled, n = counted(word, letter)
    lines, at = [letter], 0
    for piece in pieces(prompt, word):  # a token, then its letters with their number or a stroke
        end = at + len(piece.strip())
        lines.append(f"{piece}:" + "".join(f" {c}" if len(c) > 1 else f" {c}-" for c in spelled[at:end]))
        at = end
    return "letters", prompt, lines + [f"={n}"], f"{n}", f"{letter} in {word}", p


def items(r):
    p, zh = Phrasing(r), r.random() < 0.3
    kinds = r.sample(ITEMS_ZH if zh else ITEMS, r.randint(2, 3))
    values = [r.choice(kinds) for _ in range(r.randint(3, 6))]
    what = r.choice(kinds)
    listing, n = counted(values, what)
    text = p.pick(["、", "，"] if zh else [", ", ", ", " ", ","]).join(values)
    if zh:
        form = p.pick(["{l}。有几个{w}？", "数一数有几个{w}：{l}", "在{l}中，{w}出现了几次？", "{l}里有几个{w}？"])
        listing = " ".join(marked(listing))
    else:
        form = p.pick(["How many times does {w} appear in: {l}?", "Count {w} in this list: {l}", "{l}. How many {w}?", "how many {w} are in {l}?", "Count the {w}: {l}"])
        listing = " ".join(f"{mark} {x}" for mark, x in zip("abcdef", listing))
    return "items", p.wrap(form.format(l=text, w=what), zh), [what, listing, f"={n}"], f"{n}", f"{what} in {values}", p


def told(r, name, make):
    """A problem made of sentences."""
    p, zh = Phrasing(r), r.random() < 0.33
    text, lines, answer, key = make(r, p, zh)
    return name, p.wrap(text, zh), lines, answer, key, p


# ---------------------------------------------------------------- talk


def talk(r):
    p = Phrasing(r)
    if r.random() < 0.25:
        zh = r.random() < 0.35
        form, fills = r.choice(OUT_OF_SCOPE["zh" if zh else "en"])
        prompt = form.format(r.choice(fills))
        if zh:
            lines, answer = ["这个我没学过。"], UNKNOWN["zh"]
        else:
            lines, answer = ["I have not learned this."], UNKNOWN["en"]
        return "talk", prompt, lines, answer, prompt, p
    prompts, lines, answer = r.choice(TALK)
    prompt = r.choice(prompts)
    if r.random() < 0.25:
        prompt = prompt.rstrip("?.!？。！")
    if r.random() < 0.25:
        prompt = prompt[0].lower() + prompt[1:]
    return "talk", prompt, [lines], answer, None, p


TASKS = {
    "add": (lambda r: arithmetic(r, "+"), 0.08),
    "subtract": (lambda r: arithmetic(r, "-"), 0.1),
    "multiply": (lambda r: arithmetic(r, "*"), 0.08),
    "divide": (lambda r: arithmetic(r, "/"), 0.1),
    "compare": (compare, 0.09),
    "max_min": (extreme, 0.09),
    "sort": (sort, 0.08),
    "letters": (letters, 0.09),
    "items": (items, 0.07),
    "story": (lambda r: told(r, "story", story), 0.13),
    "logic": (lambda r: told(r, "logic", logic), 0.12),
    "talk": (talk, 0.09),
}


def weights(extra=None):
    w = {name: weight for name, (_, weight) in TASKS.items()}
    for name, factor in (extra or {}).items():
        w[name] *= factor
    return w


def draw(r, split, task):
    """A problem of a task on the wanted side, and whether its phrasing is one held out. Small talk is the same on both
    sides: it is recited, not solved."""
    make = TASKS[task][0]
    want_new_phrasing = split == "test" and r.random() < 0.5
    for attempt in range(3000):
        name, prompt, lines, answer, key, phrasing = make(r)
        new_phrasing = bool(phrasing.picked) and held_out(f"{name}:{phrasing.picked}")
        if key is None:
            break
        new_key = held_out(f"{name}:{key}")
        if split == "train" and not new_key and not new_phrasing:
            break
        if split == "test" and new_key and (new_phrasing or not want_new_phrasing or attempt > 1500):
            break
    return (name, prompt, "\n".join(lines), answer), new_phrasing


def stream(split, seed, extra_weights=None, only=None):
    r = random.Random(f"{split}:{seed}")
    w = weights(extra_weights)
    names = [only] if only else list(w)
    share = [w[n] for n in names]
    while True:
        yield draw(r, split, r.choices(names, share)[0])[0]


# ---------------------------------------------------------------- as the model reads it

BOS, EOS, USER, ASSISTANT = "<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>", "<｜User｜>", "<｜Assistant｜>"


def prompt_text(prompt, history=()):
    """R1's template with the thought opened, as its present form has it; past turns without their thoughts."""
    past = "".join(f"{USER}{q}{ASSISTANT}{a}{EOS}" for q, a in history)
    return f"{BOS}{past}{USER}{prompt}{ASSISTANT}<think>\n"


def reply_text(thought, answer):
    return f"{thought}\n</think>\n\n{answer}{EOS}"
