"""Word problems and puzzles of logic, with their worked solutions (see tasks.py)."""

from columns import work
from words import (
    CONDITIONS, CONDITIONS_ZH, CONTAINERS, CONTAINERS_ZH, GIVE, GIVE_ZH, KINDS, KINDS_ZH, LESS, LESS_ZH, MORE, MORE_ZH, NAMES,
    NAMES_ZH, NOW, NOW_ZH, OBJECTS, OBJECTS_ZH, PEOPLE, PEOPLE_ZH, RELATIONS, RELATIONS_ZH, START, START_ZH, TOTAL, TOTAL_ZH,
)  # fmt: skip


def story(r, p, zh):
    """Sentences, each in several wordings; what is held out is their combination. The thought begins with the sum."""
    kind = r.choice(["change", "change", "change", "two", "groups", "share", "compared", "together"])
    n, m = r.sample(NAMES_ZH if zh else NAMES, 2)
    fill = {"n": n, "m": m, "o": r.choice(OBJECTS_ZH if zh else OBJECTS)}
    text, lines, value, key = {"change": change, "two": change, "groups": groups, "share": share, "compared": compared, "together": together}[kind](r, p, zh, kind)
    for name, word in fill.items():
        text = text.replace("{" + name + "}", word)
    return text, lines, f"{value}", key


def change(r, p, zh, kind):
    value = r.randint(2, 999 if r.random() < 0.3 else 99)
    text, key, lines = p.pick(START_ZH if zh else START).replace("{v}", str(value)), f"{value}", []
    for _ in range(2 if kind == "two" else 1):
        up = r.random() < 0.5 or value == 0
        by = r.randint(1, 999 if value > 99 and r.random() < 0.5 else 99) if up else r.randint(1, value)
        text += p.pick((MORE_ZH if zh else MORE) if up else (LESS_ZH if zh else LESS)).replace("{v}", str(by))
        more, value = work("+" if up else "-", value, by)
        lines += more
        key += f"{'+' if up else '-'}{by}"
    if kind == "two":
        lines = [key] + lines
    return text + p.pick(NOW_ZH if zh else NOW), lines, value, key


def groups(r, p, zh, kind):
    b, a = r.randint(2, 9), r.randint(2, 99 if r.random() < 0.7 else 999)
    if zh:
        form = p.pick(["有{b}{c}{o}，每{c}有{a}个。", "{n}买了{b}{c}{o}，每{c}{a}个。", "每{c}有{a}个{o}，一共{b}{c}。", "{b}{c}{o}，每{c}{a}个。", "{n}有{b}{c}{o}，一{c}{a}个。"])
    else:
        form = p.pick(["There are {b} {c} with {a} {o} each.", "{n} buys {b} {c} of {a} {o}.", "Each of {b} {c} holds {a} {o}.", "{b} {c} hold {a} {o} each.",
                       "{n} has {b} {c} with {a} {o} in each.", "There are {a} {o} in each of {b} {c}.", "{n} fills {b} {c} with {a} {o} each.", "{b} {c} have {a} {o} each.",
                       "{n} has {b} {c}. Each has {a} {o}.", "There are {b} {c}. Each of them holds {a} {o}."])  # fmt: skip
    form = form.replace("{c}", p.pick(CONTAINERS_ZH if zh else CONTAINERS))
    lines, value = work("*", a, b)
    return form.replace("{a}", str(a)).replace("{b}", str(b)) + p.pick(TOTAL_ZH if zh else TOTAL), lines, value, f"{a}*{b}"


def share(r, p, zh, kind):
    b, a = r.randint(2, 9), r.randint(2, 99 if r.random() < 0.7 else 999)
    who = p.pick(PEOPLE_ZH if zh else PEOPLE)
    if zh:
        form = p.pick(["{n}把{t}个{o}平均分给{b}个{p}。", "{b}个{p}平分{t}个{o}。", "{t}个{o}平均分给{b}个{p}。", "把{t}个{o}分给{b}个{p}，一样多。", "{n}有{t}个{o}，平分给{b}个{p}。"])
        ask = p.pick(["每人得几个？", "每人有多少个？", "每个{p}得几个？", "一人几个？"])
    else:
        form = p.pick(["{n} shares {t} {o} equally among {b} {p}.", "{t} {o} are shared equally by {b} {p}.", "{b} {p} share {t} {o} equally.", "{n} divides {t} {o} equally among {b} {p}.",
                       "{b} {p} split {t} {o} evenly.", "{n} has {t} {o} and gives them to {b} {p}, the same number to each.", "{t} {o} are divided equally among {b} {p}.",
                       "There are {t} {o} for {b} {p}, who share equally."])  # fmt: skip
        ask = p.pick([" How many does each get?", " How many {o} does each get?", " How many {o} does each one get?", " How many are there for each?", " How many for each?"])
    total = a * b
    lines, (value, _) = work("/", total, b)
    return (form + ask).replace("{t}", str(total)).replace("{b}", str(b)).replace("{p}", who), lines, value, f"{total}/{b}"


def compared(r, p, zh, kind):
    a, b = r.randint(2, 199), r.randint(2, 99)
    more = r.random() < 0.6
    if not more and b > a:
        a, b = b, a
    if zh:
        form = p.pick(["{n}有{a}个{o}，{m}比{n}{w}{b}个。", "{n}有{a}个{o}。{m}{w}{b}个。", "{n}有{a}个{o}，{m}的比{n}的{w}{b}个。"])
        ask = p.pick(["{m}有几个{o}？", "{m}有多少个？", "{m}有多少个{o}？"])
        word = "多" if more else "少"
    else:
        form = p.pick(["{n} has {a} {o}. {m} has {b} {w} than {n}.", "{n} has {a} {o} and {m} has {b} {w}.", "{n} has {a} {o}. {m} has {b} {w} {o} than {n}.", "{n} has {a} {o}, {m} {b} {w}."])
        ask = p.pick([" How many {o} does {m} have?", " How many does {m} have?", " How many {o} has {m}?", " What does {m} have?"])
        word = "more" if more else p.pick(["fewer", "less"])
    lines, value = work("+" if more else "-", a, b)
    return (form + ask).replace("{a}", str(a)).replace("{b}", str(b)).replace("{w}", word), lines, value, f"{a}{'+' if more else '-'}{b}"


def together(r, p, zh, kind):
    a, b = r.randint(2, 199), r.randint(2, 99)
    give = p.pick(GIVE_ZH if zh else GIVE)
    if zh:
        ask = p.pick(["他们一共有多少个？", "一共有几个{o}？", "合起来有多少个？", "两人一共有多少个{o}？"])
    else:
        ask = p.pick([" How many {o} do they have together?", " How many is that together?", " How many {o} in total?", " How many do they have in all?", " How many altogether?"])
    lines, value = work("+", a, b)
    return (give + ask).replace("{a}", str(a)).replace("{b}", str(b)), lines, value, f"{a}+{b}"


# ---------------------------------------------------------------- logic


def truth(r, p, zh):
    """A formula in signs, its negations taken out, then each operation."""
    word, sign = (("假", "真"), ("假", "真")) if zh else (("false", "true"), ("F", "T"))
    no, conj, disj = ("非", "且", "或") if zh else ("not ", " and ", " or ")
    values = [r.random() < 0.5 for _ in range(r.choice([1, 2, 2, 2, 3]))]
    negated = [r.random() < (0.35 if len(values) > 1 else 0.9) for _ in values]
    both = [r.random() < 0.5 for _ in values[1:]]

    def written(atoms, spoken):
        ops = [(conj if x else disj) if spoken else "&" if x else "|" for x in both[len(both) - len(atoms) + 1 :]]
        if len(atoms) < 3:
            return ops[0].join(atoms) if ops else atoms[0]
        return f"({atoms[0]}{ops[0]}{atoms[1]}){ops[1]}{atoms[2]}"  # brackets say what comes first

    text = written([no * x + word[v] for x, v in zip(negated, values)], True)
    lines = [written(["!" * x + sign[v] for x, v in zip(negated, values)], False)]
    known = [v != x for v, x in zip(values, negated)]
    if any(negated):
        lines.append(written([sign[v] for v in known], False))
    for i in range(len(both)):
        known[:2] = [all(known[:2]) if both[i] else any(known[:2])]
        lines.append(written([sign[v] for v in known], False))
    answer = word[known[0]]
    form = p.pick(["{e}是真还是假？", "{e}=?", "{e}的结果是什么？", "求{e}", "{e}等于什么？", "{e}是真的吗？"] if zh else
                  ["What is {e}?", "{e}", "{e} = ?", "Is {e} true or false?", "Evaluate {e}.", "what is the value of {e}", "{e}?", "Is it true or false: {e}?", "Work out {e}."])  # fmt: skip
    return form.format(e=text), lines + [answer], answer, text


def conditional(r, p, zh):
    """The rule by the key words of its halves, which half (A or B) the fact is about, what is asked."""
    pool = CONDITIONS_ZH if zh else CONDITIONS
    i, j = r.sample(range(len(pool)), 2)
    a, b = pool[i], pool[j]
    yes, no, unknown = ("是", "不是", "不知道") if zh else ("yes", "no", "unknown")
    if zh:
        rule = p.pick(["如果{a}，那么{b}。", "只要{a}，就{b}。", "如果{a}，{b}。", "{a}的话，{b}。"])
    else:
        rule = p.pick(["If {a}, {b}. ", "If {a}, then {b}. ", "Whenever {a}, {b}. ", "When {a}, {b}. "])
    about, true, asked, side, answer = r.choice([(a, True, b, "A", yes), (b, False, a, "!B", no), (b, True, a, "B", unknown), (a, False, b, "!A", unknown)])
    fact, question = about[1 if true else 2], asked[3]
    text = rule.format(a=a[1], b=b[1]) + (f"{fact}。" if zh else f"{fact[0].upper()}{fact[1:]}. ") + question
    p.picked.append(side)
    lines = [f"{a[0]}->{b[0]}", f"{'' if true else '!'}{about[0]}={side}", f"{asked[0]}?{side}:{answer}"]
    return text, lines, answer, f"{i}>{j}:{side}"


def syllogism(r, p, zh):
    a, b, c = r.sample(KINDS_ZH if zh else KINDS, 3)
    name = r.choice(NAMES_ZH if zh else NAMES)
    kind = r.choice(["all", "none", "chain", "back"])
    p.picked.append(kind)
    yes, no, unknown = ("是", "不是", "不知道") if zh else ("yes", "no", "unknown")
    if zh:
        rule = p.pick({"none": ["没有{a}是{b}。", "{a}都不是{b}。"]}.get(kind, ["所有{a}都是{b}。", "{a}都是{b}。", "每个{a}都是{b}。"]))
        rest = {"chain": ["所有{b}都是{c}。所有{a}都是{c}吗？", "{b}都是{c}。{a}都是{c}吗？"], "back": ["{n}是{b}。{n}一定是{a}吗？", "{n}是{b}。{n}必定是{a}吗？"]}
        rest = p.pick(rest.get(kind, ["{n}是{a}。{n}是{b}吗？", "{n}是{a}。那么{n}是{b}吗？"]))
    else:
        rule = p.pick({"none": ["No {a} is a {b}.", "No {a}s are {b}s."]}.get(kind, ["All {a}s are {b}s.", "Every {a} is a {b}.", "Each {a} is a {b}."]))
        rest = {"chain": [" All {b}s are {c}s. Are all {a}s {c}s?", " Every {b} is a {c}. Is every {a} a {c}?"], "back": [" {n} is a {b}. Must {n} be a {a}?", " {n} is a {b}. Is {n} surely a {a}?"]}
        rest = p.pick(rest.get(kind, [" {n} is a {a}. Is {n} a {b}?", " {n} is a {a}. So is {n} a {b}?"]))
    text = (rule + rest).format(a=a, b=b, c=c, n=name)
    lines, answer = {
        "all": ([f"{a}->{b}", f"{name}={a}=A", f"{name}={b}?A:{yes}"], yes),
        "none": ([f"{a}->!{b}", f"{name}={a}=A", f"{name}={b}?A!:{no}"], no),
        "chain": ([f"{a}->{b}", f"{b}->{c}", f"{a}->{c}?:{yes}"], yes),
        "back": ([f"{a}->{b}", f"{name}={b}=B", f"{name}={a}?B:{unknown}"], unknown),
    }[kind]
    return text, lines, answer, f"{kind}:{a},{b},{c if kind == 'chain' else name}"


def ordering(r, p, zh):
    x, y, z = r.sample(NAMES_ZH if zh else NAMES, 3)
    more, most, least = r.choice(RELATIONS_ZH if zh else RELATIONS)
    parts = [(x, y), (y, z)]
    if r.random() < 0.4:
        parts.reverse()
    told = p.pick(["{s}比{t}{w}。", "{s}比{t}更{w}。", "{s}比{t}{w}，"] if zh else ["{s} is {w} than {t}. ", "{s} is {w} than {t}, ", "{s} is much {w} than {t}. "])
    text = "".join(told.format(s=s, t=t, w=more) for s, t in parts)
    top = r.random() < 0.5
    ask = p.pick(["谁最{w}？", "他们中谁最{w}？", "最{w}的是谁？"] if zh else ["Who is the {w}?", "Who is the {w} of them?", "who is {w}?", "Which of them is the {w}?"])
    p.picked.append(f"{top}{parts[0][0] == x}")
    lines = [f"{s}>{t}" for s, t in parts] + [f"{x}>{y}>{z}", f"{most if top else least}={'max' if top else 'min'}:{x if top else z}"]
    return text + ask.format(w=most if top else least), lines, x if top else z, f"{x}{y}{z}{more}"


def logic(r, p, zh):
    return r.choice([truth, conditional, syllogism, ordering])(r, p, zh)
