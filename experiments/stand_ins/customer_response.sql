-- Calls of 250 days in 25 months: seldom a yes at first, often at the end, as the bank's became.
CREATE TABLE calls AS
WITH drawn AS (
  SELECT i, i * 250 // sampled() AS day, i / sampled() AS late, u(i, 'previous') < 0.04 + 0.25 * i / sampled() AS known
  FROM range(sampled()) AS t(i)
), people AS (
  SELECT i, day, late, known,
    (18 + floor(60 * u(i, 'age') * u(i, 'age2') + 14 * u(i, 'age3')))::BIGINT AS age,
    pick(i, 'job', ['admin.', 'blue-collar', 'technician', 'services', 'management', 'retired', 'entrepreneur',
      'self-employed', 'housemaid', 'unemployed', 'student', 'unknown']) AS job,
    pick(i, 'marital', ['married', 'married', 'married', 'single', 'divorced', 'unknown']) AS marital,
    pick(i, 'education', ['university.degree', 'high.school', 'basic.9y', 'professional.course', 'basic.4y',
      'basic.6y', 'illiterate', 'unknown']) AS education,
    CASE WHEN u(i, 'default') < 0.01 THEN 'yes' WHEN u(i, 'default') < 0.2 THEN 'unknown' ELSE 'no' END AS "default",
    pick(i, 'housing', ['yes', 'yes', 'yes', 'no', 'no', 'no', 'unknown']) AS housing,
    pick(i, 'loan', ['yes', 'no', 'no', 'no', 'no', 'no', 'unknown']) AS loan,
    CASE WHEN u(i, 'contact') < 0.45 + 0.5 * late THEN 'cellular' ELSE 'telephone' END AS contact,
    ['may', 'jun', 'jul', 'aug', 'oct', 'nov', 'dec', 'mar', 'apr', 'sep'][1 + day // 10 % 10] AS month,
    ['mon', 'tue', 'wed', 'thu', 'fri'][1 + day % 5] AS day_of_week,
    (1 + floor(-2 * ln(1 - u(i, 'campaign'))))::BIGINT AS campaign,
    CASE WHEN known AND u(i, 'pdays') < 0.5 THEN floor(20 * u(i, 'pdays2')) ELSE 999 END::BIGINT AS pdays,
    CASE WHEN known THEN 1 + floor(3 * u(i, 'times')) ELSE 0 END::BIGINT AS previous,
    CASE WHEN NOT known THEN 'nonexistent' WHEN u(i, 'before') < 0.3 THEN 'success' ELSE 'failure' END AS poutcome,
    round(1.4 - 4.5 * late, 1) AS "emp.var.rate", round(93.5 + sin(day / 40), 3) AS "cons.price.idx",
    round(-42 + 6 * sin(day / 30), 1) AS "cons.conf.idx", round(5 - 4.3 * late, 3) AS "euribor3m",
    round(5228.1 - 260 * late, 1) AS "nr.employed"
  FROM drawn
), said AS (
  SELECT *, u(i, 'y') < 1 / (1 + exp(3.2 - 3.2 * late - 1.8 * (poutcome = 'success')::INT
    - 0.7 * (contact = 'cellular')::INT - 0.8 * (job IN ('student', 'retired'))::INT + 0.1 * campaign)) AS yes
  FROM people
)
SELECT age, job, marital, education, "default", housing, loan, contact, month, day_of_week,
  (60 - 200 * ln(1 - u(i, 'duration')) + 200 * yes::INT)::BIGINT AS duration, campaign, pdays, previous, poutcome,
  "emp.var.rate", "cons.price.idx", "cons.conf.idx", "euribor3m", "nr.employed",
  CASE WHEN yes THEN 'yes' ELSE 'no' END AS y
FROM said ORDER BY i;
