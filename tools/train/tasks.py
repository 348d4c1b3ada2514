"""Problems with their worked solutions, without end and without a file: what r1-nano learns from and is examined with.

A problem is (task, prompt, thought, answer). Thoughts are written so that every token follows from a few earlier ones
by copying or by a small table: operands are restated, columns come lowest first, a carry stands beside its digit.

Train and test never share a problem: each has a key (operands, words, list) and a phrasing, and a hash of either
decides its side. `stream("train", seed)` yields problems held out by neither; `stream("test", seed)` yields problems
whose key is held out, half of them in a phrasing that is held out too. Same seed, same problems, on any machine."""

import hashlib
import random

from talk import UNKNOWN, OUT_OF_SCOPE, TALK
from words import (
    CONDITIONS, CONDITIONS_ZH, ITEMS, ITEMS_ZH, KINDS, KINDS_ZH, NAMES, NAMES_ZH, OBJECTS, OBJECTS_ZH, RELATIONS, RELATIONS_ZH,
    WORDS,
)  # fmt: skip

HELD_OUT = 12  # one in so many problems and phrasings never reaches training


def held_out(text):
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=4).digest(), "little") % HELD_OUT == 0


# ---------------------------------------------------------------- columns


def add_columns(a, b):
    a, b, carry, lines = str(a)[::-1], str(b)[::-1], 0, []
    for i in range(max(len(a), len(b))):
        x, y = int(a[i]) if i < len(a) else 0, int(b[i]) if i < len(b) else 0
        total = x + y + carry
        lines.append(f"{x}+{y}+{carry}={total:02d}")
        carry = total // 10
    return lines


def sub_columns(a, b):
    a, b, borrow, lines = str(a)[::-1], str(b)[::-1], 0, []
    for i in range(len(a)):
        x, y = int(a[i]), int(b[i]) if i < len(b) else 0
        d = x - y - borrow
        lines.append(f"{x}-{y}-{borrow}={d % 10},{int(d < 0)}")
        borrow = int(d < 0)
    return lines


def mul_columns(a, b):
    carry, lines = 0, []
    for x in str(a)[::-1]:
        total = int(x) * b + carry
        lines.append(f"{x}*{b}+{carry}={total:02d}")
        carry = total // 10
    return lines


def div_columns(a, b):
    rest, lines = 0, []
    for x in str(a):
        n = rest * 10 + int(x)
        lines.append(f"{rest}{x}/{b}={n // b},{n % b}")
        rest = n % b
    return lines


def compare_lines(a, b):
    """First the lengths, then the digits from the left up to the first that differ."""
    sign = "<" if a < b else ">" if a > b else "="
    x, y = str(a), str(b)
    lines = []
    if len(x) != len(y):
        lines.append(f"#{len(x)}{sign}#{len(y)}")
    else:
        for p, q in zip(x, y):
            lines.append(f"{p}{'<' if p < q else '>' if p > q else '='}{q}")
            if p != q:
                break
    return lines + [f"{a}{sign}{b}"]


def work(op, a, b):
    """(lines of thought, value); a division's value is (quotient, remainder)."""
    if op == "+":
        return [f"{a}+{b}"] + add_columns(a, b), a + b
    if op == "-":
        lines = [f"{a}-{b}"] + compare_lines(a, b)
        if a < b:
            return lines + [f"{b}-{a}"] + sub_columns(b, a), a - b
        return lines + sub_columns(a, b), a - b
    if op == "*":
        if b > 9:
            a, b = b, a
        return [f"{a}*{b}"] + mul_columns(a, b), a * b
    return [f"{a}/{b}"] + div_columns(a, b), divmod(a, b)


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
    lines, value = work(op, a, b)
    if op == "/":
        q, rest = value
        answer = f"{q}" if rest == 0 else f"{q}余{rest}" if zh else f"{q} remainder {rest}"
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
    lines = [f"{a}?{b}"] + compare_lines(a, b)
    more = r.random() < 0.5
    if r.random() < 0.5:
        if zh:
            form = p.pick(["{a}和{b}哪个更{w}？", "{a}与{b}，哪个数{w}？", "哪个更{w}：{a}还是{b}？"])
            prompt = form.format(a=a, b=b, w="大" if more else "小")
            answer = "一样大" if a == b else f"{max(a, b) if more else min(a, b)}"
        else:
            form = p.pick(["Which is {w}, {a} or {b}?", "which is {w}: {a} or {b}", "Which number is {w}, {a} or {b}?", "{a} or {b}, which is {w}?",
                           "Compare {a} and {b}. Which is {w}?", "Of {a} and {b}, which is {w}?"])  # fmt: skip
            w = p.pick(["larger", "bigger", "greater"] if more else ["smaller", "less"])
            prompt = form.format(a=a, b=b, w=w)
            answer = "They are equal" if a == b else f"{max(a, b) if more else min(a, b)}"
    else:
        truth = a > b if more else a < b
        if zh:
            form = p.pick(["{a}比{b}{w}吗？", "{a}是不是比{b}{w}？", "{a}{s}{b}对吗？"])
            prompt = form.format(a=a, b=b, w="大" if more else "小", s=">" if more else "<")
            answer = "是" if truth else "不是"
        else:
            form = p.pick(["Is {a} {w} than {b}?", "is {a} {w} than {b}", "Is {a}{s}{b}?", "{a} {s} {b}, true?", "Is it true that {a} is {w} than {b}?"])
            w = p.pick(["larger", "bigger", "greater"] if more else ["smaller", "less"])
            prompt = form.format(a=a, b=b, w=w, s=">" if more else "<")
            answer = "yes" if truth else "no"
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
    lines, best = [" ".join(map(str, values))], values[0]
    for v in values[1:]:
        lines.append(f"{v}{'>' if v > best else '<'}{best}")
        best = max(v, best) if largest else min(v, best)
    if zh:
        form = p.pick(["{l}中最{w}的数是哪个？", "{l}里面哪个最{w}？", "找出最{w}的数：{l}", "最{w}的是哪个：{l}？"])
        prompt = form.format(l=listed(r, p, values, zh), w="大" if largest else "小")
    else:
        form = p.pick(["What is the {w} of {l}?", "Which is the {w}: {l}?", "Find the {w} of {l}.", "{w} of {l}?", "Which of these is the {w}? {l}", "{s}({l})",
                       "Give me the {w} number: {l}"])  # fmt: skip
        w = p.pick(["largest", "biggest", "maximum", "greatest"] if largest else ["smallest", "minimum", "least"])
        prompt = form.format(l=listed(r, p, values, zh), w=w, s="max" if largest else "min")
    head = "max" if largest else "min"
    return "max_min", p.wrap(prompt, zh), [head] + lines, f"{best}", f"{values}", p


def sort(r):
    n = r.randint(3, 4)
    values = []
    while len(values) < n:
        v = number(r, 2)
        if v not in values:
            values.append(v)
    p, zh, up = Phrasing(r), r.random() < 0.3, r.random() < 0.65
    rest, lines, done = list(values), ["min" if up else "max", " ".join(map(str, values))], []
    while rest:
        v = min(rest) if up else max(rest)
        rest.remove(v)
        done.append(v)
        lines.append(f"{v}:" + "".join(f" {x}" for x in rest))
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


SYLLABLES = [c + v for c in "bcdfghjklmnprstvwz" for v in "aeiou"] + ["st", "er", "ll", "ss", "rr", "th", "ing", "an", "on", "tt", "ch", "y", "x", "q", "ee", "oo"]


def letters(r):
    word = r.choice(WORDS) if r.random() < 0.5 else "".join(r.choice(SYLLABLES) for _ in range(r.randint(1, 3)))[:8]
    letter = r.choice(word) if r.random() < 0.85 else r.choice("abcdefghijklmnopqrstuvwxyz")
    p, zh = Phrasing(r), r.random() < 0.3
    n, spelled = 0, ""
    for c in word:
        spelled += f" {c}"
        if c == letter:
            n += 1
            spelled += f"{n}"
    if zh:
        form = p.pick(["{w}里有几个{c}？", "单词{w}中有几个{c}？", "{w}里面字母{c}出现几次？", "{w}有多少个{c}？"])
    else:
        form = p.pick(["How many {c} are in {w}?", "How many {c}'s are in {w}?", "how many {c} in {w}", "How many times does {c} occur in {w}?", "Count the {c} in {w}.",
                       "How many letters {c} are there in the word {w}?", "how many {c}s in {w}?", 'How many "{c}" are in "{w}"?'])  # fmt: skip
    return "letters", p.wrap(form.format(c=letter, w=word), zh), [f"{letter}:{spelled}"], f"{n}", f"{letter} in {word}", p


def items(r):
    p, zh = Phrasing(r), r.random() < 0.3
    kinds = r.sample(ITEMS_ZH if zh else ITEMS, r.randint(2, 3))
    values = [r.choice(kinds) for _ in range(r.randint(3, 6))]
    what, n, counted = r.choice(kinds), 0, ""
    for v in values:
        counted += f" {v}"
        if v == what:
            n += 1
            counted += f"{n}"
    text = listed(r, p, values, zh)
    if zh:
        form = p.pick(["{l}。有几个{w}？", "数一数有几个{w}：{l}", "在{l}中，{w}出现了几次？"])
    else:
        form = p.pick(["How many times does {w} appear in: {l}?", "Count {w} in this list: {l}", "{l}. How many {w}?", "how many {w} are in {l}?", "Count the {w}: {l}"])
    return "items", p.wrap(form.format(l=text, w=what), zh), [f"{what}:{counted}"], f"{n}", f"{what} in {values}", p


# ---------------------------------------------------------------- word problems


def story(r):
    """A beginning, one or two changes and a question, each in several wordings; their combination can be held out."""
    p, zh = Phrasing(r), r.random() < 0.35
    name = p_name = r.choice(NAMES_ZH if zh else NAMES)
    other = r.choice([n for n in (NAMES_ZH if zh else NAMES) if n != name])
    thing = r.choice(OBJECTS_ZH if zh else OBJECTS)
    f = {"n": p_name, "m": other, "o": thing}
    kind = r.choice(["change", "change", "change", "two", "groups", "share", "more", "together"])
    lines = []
    if kind in ("change", "two"):
        value = r.randint(2, 999 if r.random() < 0.3 else 99)
        if zh:
            text = p.pick(["{n}有{v}个{o}。", "{n}原来有{v}个{o}，", "盒子里有{v}个{o}。", "桌上有{v}个{o}，"])
        else:
            text = p.pick(["{n} has {v} {o}.", "{n} had {v} {o}.", "There are {v} {o} in a box.", "{n} starts with {v} {o}.", "A bag holds {v} {o}."])
        text = text.format(v=value, **f)
        key = f"{value}"
        for _ in range(2 if kind == "two" else 1):
            up = r.random() < 0.5
            by = r.randint(1, 999 if value > 99 and r.random() < 0.5 else 99) if up else r.randint(1, value) if value else 0
            if by == 0:
                continue
            if zh:
                form = p.pick(["又买了{v}个。", "又得到{v}个。", "又拿来{v}个。", "{m}又给了{v}个。"] if up else ["吃掉了{v}个。", "送出去{v}个。", "丢了{v}个。", "{m}拿走了{v}个。", "卖掉{v}个。"])
            else:
                form = p.pick(
                    [" {n} buys {v} more.", " {m} adds {v} more.", " Then {n} gets {v} more.", " {n} finds {v} more.", " {m} brings {v} more."]
                    if up
                    else [" {n} gives away {v}.", " {n} loses {v}.", " Then {v} are sold.", " {m} takes {v} away.", " {n} eats {v} of them.", " {v} of them break."]
                )
            text += form.format(v=by, **f)
            more, value = work("+" if up else "-", value, by)
            lines += more
            key += f"{'+' if up else '-'}{by}"
        text += p.pick(["现在有几个{o}？", "还有多少个{o}？", "一共有多少个？"] if zh else
                       [" How many {o} are there now?", " How many {o} does that make?", " How many are left?", " How many {o} now?"]).format(**f)  # fmt: skip
    elif kind in ("groups", "share"):
        b = r.randint(2, 9)
        a = r.randint(2, 99 if r.random() < 0.7 else 999)
        if kind == "groups":
            lines, value = work("*", a, b)
            text = p.pick(["有{b}个盒子，每个盒子里有{a}个{o}。一共有多少个{o}？", "{n}买了{b}袋{o}，每袋{a}个。一共有多少个？"] if zh else
                          ["There are {b} boxes with {a} {o} each. How many {o} are there?", "{n} buys {b} bags of {a} {o}. How many {o} is that?",
                           "Each of {b} shelves holds {a} {o}. How many {o} in all?", "One box holds {a} {o}. How many {o} do {b} boxes hold?"])  # fmt: skip
            key = f"{a}*{b}"
        else:
            total = a * b
            lines, (value, _) = work("/", total, b)
            text = p.pick(["{n}把{t}个{o}平均分给{b}个人。每人得几个？", "{t}个{o}平均装进{b}个盒子，每盒几个？"] if zh else
                          ["{n} shares {t} {o} equally among {b} friends. How many does each get?", "{t} {o} are packed into {b} equal boxes. How many in each box?",
                           "{b} children share {t} {o} equally. How many {o} does each child get?"])  # fmt: skip
            text = text.replace("{t}", str(total))
            key = f"{total}/{b}"
        text = text.format(a=a, b=b, **f)
    else:
        a, b = r.randint(2, 199), r.randint(2, 99)
        key = f"{a}+{b}"
        lines, value = work("+", a, b)
        if kind == "more":
            text = p.pick(["{n}有{a}个{o}，{m}比{n}多{b}个。{m}有几个{o}？"] if zh else
                          ["{n} has {a} {o}. {m} has {b} more than {n}. How many {o} does {m} have?", "{m} has {b} more {o} than {n}. {n} has {a} {o}. How many does {m} have?"])  # fmt: skip
            if text.startswith("{m}"):  # operands in the order in which they are told
                lines, value = work("+", b, a)
        else:
            text = p.pick(["{n}有{a}个{o}，{m}有{b}个。他们一共有多少个？", "{n}和{m}各有{a}个和{b}个{o}，一共有几个？"] if zh else
                          ["{n} has {a} {o} and {m} has {b}. How many {o} do they have together?", "{n} picks {a} {o} and {m} picks {b}. How many {o} in total?"])  # fmt: skip
        text = text.format(a=a, b=b, **f)
    return "story", text, lines, f"{value}", key, p


# ---------------------------------------------------------------- logic


def truth(r, p, zh):
    t = ("假", "真") if zh else ("false", "true")
    no, conj, disj = ("非", "且", "或") if zh else ("not ", " and ", " or ")
    values = [r.random() < 0.5 for _ in range(r.choice([1, 2, 2, 2, 3]))]
    terms, known, lines = [], [], []
    for v in values:
        negate = r.random() < (0.35 if len(values) > 1 else 1)
        terms.append((no if negate else "") + t[v])
        if negate:
            lines.append(f"{no}{t[v]}={t[not v]}")
        known.append(v != negate)
    ops = [r.random() < 0.5 for _ in values[1:]]
    if len(values) == 3:  # brackets say what comes first
        inner = known[0] and known[1] if ops[0] else known[0] or known[1]
        lines.append(f"{t[known[0]]}{conj if ops[0] else disj}{t[known[1]]}={t[inner]}")
        result = inner and known[2] if ops[1] else inner or known[2]
        lines.append(f"{t[inner]}{conj if ops[1] else disj}{t[known[2]]}={t[result]}")
        text = f"({terms[0]}{conj if ops[0] else disj}{terms[1]}){conj if ops[1] else disj}{terms[2]}"
    elif len(values) == 2:
        result = known[0] and known[1] if ops[0] else known[0] or known[1]
        lines.append(f"{t[known[0]]}{conj if ops[0] else disj}{t[known[1]]}={t[result]}")
        text = f"{terms[0]}{conj if ops[0] else disj}{terms[1]}"
    else:
        result, text = known[0], terms[0]
    form = p.pick(["{e}是真还是假？", "{e}=?", "{e}的结果是什么？", "求{e}"] if zh else
                  ["What is {e}?", "{e}", "{e} = ?", "Is {e} true or false?", "Evaluate {e}.", "what is the value of {e}"])  # fmt: skip
    return form.format(e=text), lines, t[result], text


def conditional(r, p, zh):
    i, j = r.sample(range(len(CONDITIONS_ZH if zh else CONDITIONS)), 2)
    if zh:
        a, b = CONDITIONS_ZH[i], CONDITIONS_ZH[j]
        rule = p.pick(["如果{a}，那么{b}。", "只要{a}，就{b}。"]).format(a=a[0], b=b[0])
        yes, no, unknown = "是", "不是", "不知道"
        ask = lambda c: f"{c[0]}吗？"  # noqa: E731
        say = lambda c, true: f"{c[0]}。" if true else f"{c[1]}。"  # noqa: E731
    else:
        a, b = CONDITIONS[i], CONDITIONS[j]
        rule = p.pick(["If {a}, {b}. ", "If {a}, then {b}. ", "Whenever {a}, {b}. "]).format(a=a[0], b=b[0])
        yes, no, unknown = "yes", "no", "unknown"
        ask = lambda c: f"{c[2]}?"  # noqa: E731
        say = lambda c, true: (f"{c[0]}. " if true else f"{c[1]}. ").capitalize()  # noqa: E731
    kind = r.randrange(4)
    if kind == 0:
        fact, question, answer, why = say(a, True), ask(b), yes, "A->B, A, B"
    elif kind == 1:
        fact, question, answer, why = say(b, False), ask(a), no, "A->B, not B, not A"
    elif kind == 2:
        fact, question, answer, why = say(b, True), ask(a), unknown, "A->B, B, A?"
    else:
        fact, question, answer, why = say(a, False), ask(b), unknown, "A->B, not A, B?"
    p.picked.append(str(kind))
    return rule + fact + question, [why], answer, f"{i}>{j}:{kind}"


def syllogism(r, p, zh):
    a, b, c = r.sample(KINDS_ZH if zh else KINDS, 3)
    name = r.choice(NAMES_ZH if zh else NAMES)
    kind = r.randrange(4)
    p.picked.append(str(kind))
    if zh:
        say = ["所有{a}都是{b}。{n}是{a}。{n}是{b}吗？", "没有{a}是{b}。{n}是{a}。{n}是{b}吗？",
               "所有{a}都是{b}。所有{b}都是{c}。所有{a}都是{c}吗？", "所有{a}都是{b}。{n}是{b}。{n}一定是{a}吗？"][kind]  # fmt: skip
        answer = ["是", "不是", "是", "不知道"][kind]
        text = say.format(a=a, b=b, c=c, n=name)
    else:
        say = [["All {a}s are {b}s. {n} is a {a}. Is {n} a {b}?", "Every {a} is a {b}. {n} is a {a}. Is {n} a {b}?"],
               ["No {a} is a {b}. {n} is a {a}. Is {n} a {b}?", "No {a}s are {b}s. {n} is a {a}. Is {n} a {b}?"],
               ["All {a}s are {b}s. All {b}s are {c}s. Are all {a}s {c}s?", "Every {a} is a {b}. Every {b} is a {c}. Is every {a} a {c}?"],
               ["All {a}s are {b}s. {n} is a {b}. Must {n} be a {a}?", "Every {a} is a {b}. {n} is a {b}. Is {n} surely a {a}?"]][kind]  # fmt: skip
        answer = ["yes", "no", "yes", "unknown"][kind]
        text = p.pick(say).format(a=a, b=b, c=c, n=name)
    why = [f"{name}->{a}->{b}", f"{name}->{a}, {a} not {b}", f"{a}->{b}->{c}", f"{name}->{b}, {a}->{b}, {a}?"][kind]
    return text, [why], answer, f"{a},{b},{c if kind == 2 else name}"


def ordering(r, p, zh):
    names = r.sample(NAMES_ZH if zh else NAMES, 3)
    more, most, least = r.choice(RELATIONS_ZH if zh else RELATIONS)
    x, y, z = names
    parts = [(x, y), (y, z)]
    if r.random() < 0.4:
        parts.reverse()
    if zh:
        text = "".join(f"{s}比{t}{more}。" for s, t in parts)
    else:
        text = "".join(f"{s} is {more} than {t}. " for s, t in parts)
    top = r.random() < 0.5
    text += f"谁最{most if top else least}？" if zh else f"Who is the {most if top else least}?"
    p.picked.append(f"{top}{parts[0][0] == x}")
    return text, [f"{x}>{y}>{z}"], x if top else z, f"{names}{more}"


def logic(r):
    p, zh = Phrasing(r), r.random() < 0.3
    text, lines, answer, key = r.choice([truth, conditional, syllogism, ordering])(r, p, zh)
    return "logic", text, lines, answer, key, p


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
    "add": (lambda r: arithmetic(r, "+"), 0.13),
    "subtract": (lambda r: arithmetic(r, "-"), 0.12),
    "multiply": (lambda r: arithmetic(r, "*"), 0.09),
    "divide": (lambda r: arithmetic(r, "/"), 0.09),
    "compare": (compare, 0.08),
    "max_min": (extreme, 0.08),
    "sort": (sort, 0.07),
    "letters": (letters, 0.03),
    "items": (items, 0.1),
    "story": (story, 0.1),
    "logic": (logic, 0.12),
    "talk": (talk, 0.08),
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
