"""The steps of thoughts: every token follows from a few earlier ones by copying or by a small table."""


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
        product = int(x) * b
        lines.append(f"{x}*{b}={product:02d}+{carry}={product + carry:02d}")
        carry = (product + carry) // 10
    return lines


def div_columns(a, b):
    rest, lines = 0, []
    for x in str(a):
        n = rest * 10 + int(x)
        lines.append(f"{rest}{x}/{b}={n // b}*{b}={n // b * b:02d},{n % b}")
        rest = n % b
    return lines


def sign_of(a, b):
    return "<" if a < b else ">" if a > b else "="


def digits_compared(a, b):
    """First the lengths, then the digits from the left up to the first that differ."""
    x, y = str(a), str(b)
    if len(x) != len(y):
        return [f"#{len(x)}{sign_of(len(x), len(y))}#{len(y)}"]
    last = next((i for i in range(len(x)) if x[i] != y[i]), len(x) - 1)
    return [f"{p}{sign_of(p, q)}{q}" for p, q in zip(x[: last + 1], y)]


def duel(a, b, largest):
    """Which of two marked numbers, such as a417 and b38, is wanted: the left (L) or the right (R) or both (E)."""
    x, y = int(a[1:]), int(b[1:])
    side = "E" if x == y else "L" if (x > y) == largest else "R"
    return f"{a} {b}: {' '.join(digits_compared(a[1:], b[1:]))} {side}", a if side == "L" else b


def marked(values):
    return [f"{mark}{v}" for mark, v in zip("abcdef", values)]


def work(op, a, b):
    """(lines of thought, value); a division's value is (quotient, remainder)."""
    if op == "+":
        return [f"{a}+{b}"] + add_columns(a, b), a + b
    if op == "-":
        lines = [f"{a}-{b}"] + digits_compared(a, b) + [f"{a}{sign_of(a, b)}{b}"]
        if a < b:
            return lines + [f"{b}-{a}"] + sub_columns(b, a), a - b
        return lines + sub_columns(a, b), a - b
    if op == "*":
        if b > 9:
            a, b = b, a
        return [f"{a}*{b}"] + mul_columns(a, b), a * b
    return [f"{a}/{b}"] + div_columns(a, b), divmod(a, b)


def counted(parts, what):
    """The parts, those that are `what` with their number behind them, and how many they are."""
    n, out = 0, []
    for part in parts:
        n += part == what
        out.append(f"{part}{n}" if part == what else part)
    return out, n
