"""What the problems of tasks.py are about."""

NAMES = ["Tom", "Ann", "Bob", "Mia", "Sam", "Eva", "Leo", "Nina", "Paul", "Zoe"]
NAMES_ZH = ["小明", "小红", "小华", "小李", "小王", "小丽"]
OBJECTS = ["apples", "pears", "books", "pens", "stones", "coins", "cards", "eggs", "cups", "balls", "keys"]
OBJECTS_ZH = ["苹果", "梨", "球", "鸡蛋", "杯子", "糖"]
ITEMS = ["apple", "pear", "plum", "fig", "cat", "dog", "bird", "fish", "red", "blue", "cup", "key"]
ITEMS_ZH = ["苹果", "梨", "猫", "狗", "鸟", "鱼"]
KINDS = ["cat", "dog", "bird", "fish", "king", "poet", "wug", "dax", "rose", "tree"]
KINDS_ZH = ["猫", "狗", "鸟", "鱼", "老师", "学生"]
RELATIONS = [("taller", "tallest", "shortest"), ("older", "oldest", "youngest"), ("faster", "fastest", "slowest"), ("heavier", "heaviest", "lightest")]
RELATIONS_ZH = [("高", "高", "矮"), ("快", "快", "慢"), ("重", "重", "轻")]
CONDITIONS = [  # (key word, it is so, it is not so, is it so)
    ("rain", "it rains", "it does not rain", "Does it rain?"),
    ("wet", "the street is wet", "the street is not wet", "Is the street wet?"),
    ("light", "the light is on", "the light is not on", "Is the light on?"),
    ("door", "the door is open", "the door is not open", "Is the door open?"),
    ("cat", "the cat sleeps", "the cat does not sleep", "Does the cat sleep?"),
    ("Tom", "Tom is happy", "Tom is not happy", "Is Tom happy?"),
    ("cold", "it is cold", "it is not cold", "Is it cold?"),
    ("bell", "the bell rings", "the bell does not ring", "Does the bell ring?"),
]
CONDITIONS_ZH = [("雨", "下雨", "没下雨", "下雨吗？"), ("地", "地湿", "地不湿", "地湿吗？"), ("灯", "灯亮", "灯不亮", "灯亮吗？"), ("门", "门开着", "门没开", "门开着吗？"),
                 ("猫", "猫睡觉", "猫没睡觉", "猫睡觉吗？"), ("天", "天冷", "天不冷", "天冷吗？"), ("小明", "小明高兴", "小明不高兴", "小明高兴吗？"), ("水", "水热", "水不热", "水热吗？")]  # fmt: skip

# Sentences of word problems: {n} and {m} are people, {o} things, {c} boxes, {v} a number.
CONTAINERS = ["boxes", "bags", "baskets", "shelves", "rows", "jars"]
CONTAINERS_ZH = ["盒", "袋", "箱", "排"]
PEOPLE = ["friends", "children", "people", "students", "girls"]
PEOPLE_ZH = ["人", "孩子", "朋友", "学生"]
START = ["{n} has {v} {o}.", "{n} had {v} {o}.", "There are {v} {o} in a box.", "{n} starts with {v} {o}.", "A bag holds {v} {o}.", "There are {v} {o}.", "{n} owns {v} {o}.",
         "There were {v} {o} on the table.", "At first there are {v} {o}.", "{n} and {m} have {v} {o}.", "I have {v} {o}.", "A box has {v} {o}."]  # fmt: skip
MORE = [" {n} buys {v} more.", " {m} adds {v} more.", " Then {n} gets {v} more.", " {n} finds {v} more.", " {m} brings {v} more.", " {m} gives {v} more.", " Then {v} more come.",
        " {n} makes {v} more.", " {n} wins {v}.", " {n} gets another {v}.", " {v} more are added.", " {m} puts in {v} more.", " Then {n} buys {v}.", " Then {m} adds {v}."]  # fmt: skip
LESS = [" {n} gives away {v}.", " {n} loses {v}.", " Then {v} are sold.", " {m} takes {v} away.", " {n} eats {v} of them.", " {v} of them break.", " {n} sells {v}.", " {m} takes {v}.",
        " {n} gives {m} {v}.", " Then {v} are lost.", " {v} are taken away.", " {n} uses {v}.", " {n} gives {v} to {m}.", " {n} drops {v} of them."]  # fmt: skip
NOW = [" How many {o} are there now?", " How many {o} does that make?", " How many are left?", " How many {o} now?", " How many are there now?", " How many {o} are left?", " How many is that now?"]
START_ZH = ["{n}有{v}个{o}。", "{n}原来有{v}个{o}，", "盒子里有{v}个{o}。", "桌上有{v}个{o}，", "原来有{v}个{o}，", "{n}有{v}个{o}，"]
MORE_ZH = ["又买了{v}个。", "又得到{v}个。", "又拿来{v}个。", "{m}又给了{v}个。", "又放进{v}个。", "又来了{v}个。", "{n}又买了{v}个。"]
LESS_ZH = ["吃掉了{v}个。", "送出去{v}个。", "丢了{v}个。", "{m}拿走了{v}个。", "卖掉{v}个。", "用掉{v}个。", "给了{m}{v}个。"]
NOW_ZH = ["现在有几个{o}？", "还有多少个{o}？", "一共有多少个？", "现在有多少个？", "现在一共有几个？"]
TOTAL = [" How many {o} are there?", " How many {o} is that?", " How many {o} in all?", " How many {o} are there in total?", " How many are there altogether?", " How many {o} together?"]
TOTAL_ZH = ["一共有多少个{o}？", "一共有多少个？", "一共有几个{o}？", "总共有多少个？"]
GIVE = ["{n} has {a} {o} and {m} has {b}.", "{n} picks {a} {o} and {m} picks {b}.", "{n} has {a} {o}. {m} has {b} {o}.", "{n} finds {a} {o}, {m} finds {b}.", "{n} has {a} {o}, and {m} has {b} {o}.",
        "{a} {o} are in one box and {b} in another."]  # fmt: skip
GIVE_ZH = ["{n}有{a}个{o}，{m}有{b}个。", "{n}和{m}各有{a}个和{b}个{o}，", "{n}有{a}个{o}。{m}有{b}个{o}。", "{n}拿了{a}个{o}，{m}拿了{b}个。"]

SYLLABLES = [c + v for c in "bcdfghjklmnprstvwz" for v in "aeiou"] + ["st", "er", "ll", "ss", "rr", "th", "ing", "an", "on", "tt", "ch", "y", "x", "q", "ee", "oo"]  # of made-up words

WORDS = """strawberry banana letter mississippi apple pear books pens stones coins cards eggs cups stamps marbles cookies flowers balls
bird fish green blue moon little yellow hello coffee address success committee bookkeeper balloon pepper butter rabbit parrot
summer winter spring autumn mirror cherry orange lemon melon tomato potato carrot onion garlic rice bread cheese honey sugar water
river mountain valley forest garden window kitchen table chair pillow blanket candle lamp mirror ladder hammer needle thread button
pocket jacket trousers sweater ribbon letter paper pencil eraser school teacher student lesson number answer question reason thought
think model engine token layer expert router memory vector matrix tensor random linear cosine binary digit string pointer compiler
computer keyboard screen mouse printer network server client socket thread kernel process signal window terminal command history
monday tuesday friday sunday january february march april august october november december morning evening night minute second hour
week month year today tomorrow yesterday always never often seldom under over between behind before after inside outside above below
seven eleven twenty thirty hundred thousand million first third fourth fifth queen king prince castle tower bridge street village
country island ocean beach desert jungle meadow thunder lightning rainbow cloud storm snow wind fire smoke stone metal silver golden
copper iron wood glass cotton leather rubber plastic circle square triangle sphere corner middle bottom centre level radar civic
noon deed added error mammal dinner tennis soccer hockey cricket violin guitar piano trumpet drum music singer dancer painter writer
reader baker doctor nurse lawyer farmer sailor soldier driver pilot engineer scientist philosopher mathematician encyclopedia""".split()
