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
CONDITIONS = [  # (it is so, it is not so, is it so)
    ("it rains", "it does not rain", "Does it rain"),
    ("the street is wet", "the street is not wet", "Is the street wet"),
    ("the light is on", "the light is not on", "Is the light on"),
    ("the door is open", "the door is not open", "Is the door open"),
    ("the cat sleeps", "the cat does not sleep", "Does the cat sleep"),
    ("Tom is happy", "Tom is not happy", "Is Tom happy"),
    ("it is cold", "it is not cold", "Is it cold"),
    ("the bell rings", "the bell does not ring", "Does the bell ring"),
]
CONDITIONS_ZH = [("下雨", "没下雨"), ("地湿", "地不湿"), ("灯亮", "灯不亮"), ("门开着", "门没开"), ("猫睡觉", "猫没睡觉"), ("天冷", "天不冷"), ("小明高兴", "小明不高兴"), ("水热", "水不热")]

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
